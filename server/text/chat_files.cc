#include <algorithm>
#include <filesystem>

#include "server/base/file.h"
#include "server/base/invalid_argument.h"
#include "server/base/status_macros.h"
#include "server/text/chat_template.h"

namespace hydrad {
namespace {

constexpr uint64_t kMaxConfig = 64u << 20;
constexpr uint64_t kMaxTemplate = 1u << 20;
constexpr size_t kMaxTemplates = 64;

// What the file holds, or nothing where there is none.
absl::StatusOr<std::optional<std::string>> ReadIfThere(const std::filesystem::path& path,
                                                       uint64_t max_bytes) {
  auto text = ReadFile(path.string(), max_bytes);
  if (absl::IsNotFound(text.status())) return std::nullopt;
  RETURN_IF_ERROR(text.status());
  return std::optional<std::string>(*std::move(text));
}

// "chat_template": a string, or a list of objects with "name" and "template".
absl::Status ReadTemplates(const Json& field, ChatFiles* files) {
  if (field.is_null()) return absl::OkStatus();
  if (field.is_string()) {
    files->templates["default"] = field.get<std::string>();
    return absl::OkStatus();
  }
  if (!field.is_array()) return InvalidArgument("chat_template: is neither a string nor a list");
  for (const Json& entry : field) {
    const bool sound =
        entry.is_object() && Field(entry, "name").is_string() && Field(entry, "template").is_string();
    if (!sound) return InvalidArgument("chat_template: an entry of the list has no name or no template");
    files->templates[Field(entry, "name").get<std::string>()] = Field(entry, "template").get<std::string>();
  }
  return absl::OkStatus();
}

// A token: its text, an object with the text as "content", or null.
absl::Status ReadTokens(const Json& config, ChatFiles* files) {
  for (const char* key :
       {"bos_token", "eos_token", "pad_token", "unk_token", "sep_token", "cls_token", "mask_token"}) {
    const Json& field = Field(config, key);
    if (field.is_null()) continue;
    const Json& content = field.is_object() ? Field(field, "content") : field;
    if (!content.is_string()) return InvalidArgument("{}: is no token", key);
    files->tokens[key] = content.get<std::string>();
  }
  return absl::OkStatus();
}

absl::Status ReadConfig(const std::string& text, ChatFiles* files) {
  ASSIGN_OR_RETURN(const Json config, ParseJson(text));
  if (!config.is_object()) return InvalidArgument("is not a JSON object");
  RETURN_IF_ERROR(ReadTemplates(Field(config, "chat_template"), files));
  return ReadTokens(config, files);
}

// additional_chat_templates/NAME.jinja
absl::Status ReadAdditional(const std::filesystem::path& directory, ChatFiles* files) {
  std::error_code error;
  std::filesystem::directory_iterator entry(directory / "additional_chat_templates", error);
  for (; !error && entry != std::filesystem::directory_iterator(); entry.increment(error)) {
    if (entry->path().extension() != ".jinja") continue;
    if (files->templates.size() >= kMaxTemplates) {
      return InvalidArgument("{}: more than {} chat templates", directory.string(), kMaxTemplates);
    }
    ASSIGN_OR_RETURN(files->templates[entry->path().stem().string()],
                     ReadFile(entry->path().string(), kMaxTemplate));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<ChatFiles> ParseChatFiles(const std::optional<std::string>& tokenizer_config,
                                         const std::optional<std::string>& chat_template) {
  ChatFiles files;
  if (tokenizer_config) {
    const absl::Status status = ReadConfig(*tokenizer_config, &files);
    if (!status.ok()) return Annotate(status, kTokenizerConfigFile);
  }
  if (chat_template) files.templates["default"] = *chat_template;
  return files;
}

absl::StatusOr<ChatFiles> ReadChatFiles(const std::string& directory) {
  const std::filesystem::path root(directory);
  ASSIGN_OR_RETURN(const auto config, ReadIfThere(root / kTokenizerConfigFile, kMaxConfig));
  ASSIGN_OR_RETURN(const auto source, ReadIfThere(root / kChatTemplateFile, kMaxTemplate));
  absl::StatusOr<ChatFiles> files = ParseChatFiles(config, source);
  if (!files.ok()) return Annotate(files.status(), directory);
  RETURN_IF_ERROR(ReadAdditional(root, &*files));
  return files;
}

}  // namespace hydrad
