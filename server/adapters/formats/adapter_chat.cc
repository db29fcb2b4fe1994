#include "server/adapters/formats/adapter_chat.h"

#include <new>
#include <optional>
#include <utility>

#include "server/adapters/formats/text_file.h"
#include "server/base/invalid_argument.h"
#include "server/base/status.h"
#include "server/base/status_macros.h"

namespace hydrad {
namespace {

constexpr uint64_t kMaxChatBytes = 4 << 20;  // of a file; vocabularies of added tokens stand in some
// Of the templates and tokens together: they stay in memory, and are written down with each load.
constexpr size_t kMaxKeptBytes = 128 << 10;

absl::Status CheckSize(const ChatFiles& files) {
  size_t bytes = 0;
  for (const auto* texts : {&files.templates, &files.tokens}) {
    for (const auto& [name, text] : *texts) bytes += name.size() + text.size();
  }
  if (bytes <= kMaxKeptBytes) return absl::OkStatus();
  return InvalidArgument("the chat templates have {} bytes: at most {} are taken", bytes, kMaxKeptBytes);
}

absl::StatusOr<ChatFiles> ReadFiles(Disk& disk, const std::string& path) {
  ASSIGN_OR_RETURN(const std::unique_ptr<DiskDirectory> directory, disk.OpenDirectory(path));
  ASSIGN_OR_RETURN(const std::optional<std::string> config,
                   ReadTextIfThere(*directory, kTokenizerConfigFile, kMaxChatBytes));
  ASSIGN_OR_RETURN(const std::optional<std::string> source,
                   ReadTextIfThere(*directory, kChatTemplateFile, kMaxChatBytes));
  ASSIGN_OR_RETURN(ChatFiles files, ParseChatFiles(config, source));
  RETURN_IF_ERROR(CheckSize(files));
  return files;
}

}  // namespace

std::shared_ptr<const ChatFormat> ChatBeside(absl::StatusOr<ChatFiles> files, const ChatFormat* base) {
  if (files.ok() && files->templates.empty()) return nullptr;
  if (files.ok() && base != nullptr && base->files().ok()) {
    const ChatFiles& known = *base->files();
    files->tokens.insert(known.tokens.begin(), known.tokens.end());
    if (files->templates == known.templates && files->tokens == known.tokens) return nullptr;
  }
  return std::make_shared<const ChatFormat>(std::move(files));
}

absl::StatusOr<std::shared_ptr<const ChatFormat>> ReadAdapterChat(Disk& disk, const std::string& path,
                                                                  const ChatFormat* base) {
  try {
    absl::StatusOr<ChatFiles> files = ReadFiles(disk, path);
    if (!files.ok() && !absl::IsInvalidArgument(files.status())) return Annotate(files.status(), path);
    return ChatBeside(std::move(files), base);
  } catch (const std::bad_alloc&) {
    return ResourceExhausted("{}: out of memory", path);
  }
}

}  // namespace hydrad
