// The body of POST /v1/completions into calls of the front room.
#ifndef HYDRAD_SERVER_HTTP_COMPLETION_CALL_H_
#define HYDRAD_SERVER_HTTP_COMPLETION_CALL_H_

#include <absl/status/statusor.h>

#include <string>
#include <string_view>
#include <vector>

#include "server/base/json.h"
#include "server/front/generate_call.h"
#include "server/http/body_reader.h"

namespace hydrad {

// How the answer is given.
struct AnswerWishes {
  bool stream = false;
  bool include_usage = false;  // of a stream: its last event tells what was used
  bool hydrad = false;         // the answer has a "hydrad" object
  std::string model{};         // as the client named it
  std::string form_name{};     // of the field that asks for a form; "": none does
};

struct CompletionCall {
  std::vector<GenerateCall> calls;  // one for each prompt, at least one
  AnswerWishes wishes;
};

inline constexpr size_t kMaxPrompts = 64;
// What a completion that does not say has always had in OpenAI's API.
inline constexpr int kCompletionMaxTokens = 16;

// INVALID_ARGUMENT (INVALID_FIELD) for what is no JSON object, for fields of another type than OpenAI's, and
// for fields that would change the answer and are not supported; what else is wrong with a call is the
// validator's. `base_model` is the name of the base model, whose calls name no adapter.
absl::StatusOr<CompletionCall> ReadCompletionCall(std::string_view body, const std::string& base_model);

// The body as an object. INVALID_ARGUMENT (MALFORMED_MESSAGE).
absl::StatusOr<Json> ReadBody(std::string_view body);

// `prompt` as one or several prompts; empty, with the reader told, where it is neither.
using Prompts = std::vector<decltype(GenerateCall::prompt)>;
Prompts ReadPrompts(BodyReader& reader);

// `model` with the "hydrad" object, and the fields that change nothing of an answer.
void ReadModel(const std::string& base_model, BodyReader& reader, GenerateCall* call, AnswerWishes* wishes);

// Fields that completions and chat completions share: ReadModel's, sampling, stopping
// but for the number of tokens, the form, and how the answer is given.
void ReadShared(const std::string& base_model, BodyReader& reader, GenerateCall* call, AnswerWishes* wishes);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_HTTP_COMPLETION_CALL_H_
