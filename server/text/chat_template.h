// Chat templates: from the messages of a conversation to the text that the model was trained on.
//
// Models bring their template as a Jinja program in tokenizer_config.json or chat_template.jinja. The
// interpreter in server/text/jinja/ is our own and bounded: a template includes nothing, reaches nothing but
// the data that it is given, and stops at a limit of steps and bytes.
//
// Promise: the same text as the `transformers` package gives with jinja2. A template with a part that we do
// not have is refused when it is parsed, by the name of that part, never approximated.
#ifndef HYDRAD_SERVER_TEXT_CHAT_TEMPLATE_H_
#define HYDRAD_SERVER_TEXT_CHAT_TEMPLATE_H_

#include <absl/status/statusor.h>

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "server/base/json.h"
#include "server/text/byte_range.h"

namespace hydrad {

// What one rendering may cost. A template that goes beyond is ended with INVALID_ARGUMENT.
struct ChatTemplateLimits {
  int64_t steps = 5'000'000;               // expressions, statements, and every 32 bytes that are made
  size_t memory_bytes = 64 * 1024 * 1024;  // values that are alive at once, the context's among them
  size_t output_bytes = 32 * 1024 * 1024;  // the text
};

// One parsed template. Immutable and cheap to copy; any thread may use it.
class ChatTemplate {
 public:
  // Parses `source`. Errors are INVALID_ARGUMENT, say the line, and name what is wrong or what we do not
  // have.
  static absl::StatusOr<ChatTemplate> Parse(std::string_view source);

  struct Rendered {
    std::string text;  // UTF-8
    // The parts of `text` that came out of the context's strings, whatever the template did to them: in
    // ascending order, not empty, neither overlapping nor touching. Tokenizer::Encode takes them, so that
    // special tokens in users' texts stay plain text.
    std::vector<ByteRange> from_data;
  };

  // Renders the template with `context`, an object of what it may ask for: messages, tools, documents,
  // add_generation_prompt, bos_token, eos_token, and any argument of the template. Keys keep their order.
  // Strings at the top whose key ends in "_token" are the model's and no data, and so are the roles of
  // messages, of a-z A-Z 0-9 _ -, which templates make tokens of; all other strings are data.
  // `now` is what strftime_now tells, in the local time zone. Errors are INVALID_ARGUMENT: what the
  // template raises by raise_exception is their text; all others begin with the line.
  absl::StatusOr<Rendered> Render(const Json& context, std::chrono::system_clock::time_point now,
                                  const ChatTemplateLimits& limits = {}) const;

 private:
  class Impl;
  explicit ChatTemplate(std::shared_ptr<const Impl> impl);
  std::shared_ptr<const Impl> impl_;
};

// What the directory of a model or an adapter says about chat.
struct ChatFiles {
  // Sources by name: "default", "tool_use", ... Empty where the directory has none: chat is then refused by
  // name, and raw completions serve.
  std::map<std::string, std::string> templates;
  // The texts of the tokens that templates ask for, by the key of tokenizer_config.json: "bos_token",
  // "eos_token", "pad_token", "unk_token", "sep_token", "cls_token", "mask_token". Tokens that are null or
  // not mentioned are absent.
  std::map<std::string, std::string> tokens;
};

inline constexpr char kTokenizerConfigFile[] = "tokenizer_config.json";
inline constexpr char kChatTemplateFile[] = "chat_template.jinja";

// What the texts of these two files say, as far as they are there; of two templates the second file's counts.
// INVALID_ARGUMENT, with the file and the field.
absl::StatusOr<ChatFiles> ParseChatFiles(const std::optional<std::string>& tokenizer_config,
                                         const std::optional<std::string>& chat_template);

// Reads tokenizer_config.json (`chat_template` as a string or a list of {name, template}),
// chat_template.jinja, which counts more, and additional_chat_templates/NAME.jinja. Files that are absent are
// no error. Errors name the file and the field.
absl::StatusOr<ChatFiles> ReadChatFiles(const std::string& directory);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_TEXT_CHAT_TEMPLATE_H_
