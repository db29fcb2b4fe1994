#include "server/adapters/formats/read_tokens.h"

#include <fmt/core.h>

#include <new>
#include <optional>
#include <utility>

#include "server/adapters/formats/text_file.h"
#include "server/base/invalid_argument.h"
#include "server/base/status.h"
#include "server/base/status_macros.h"
#include "server/text/chat_template.h"

namespace hydrad {
namespace {

constexpr char kTokenizerFile[] = "tokenizer.json";
constexpr uint64_t kMaxTokenizerBytes = 64 << 20;
constexpr uint64_t kMaxConfigBytes = 4 << 20;
// Of what stays in memory and is written down with each load.
constexpr size_t kMaxKeptBytes = 512 << 10;

// "" where the files name none that can be told.
absl::StatusOr<std::string> EosToken(DiskDirectory& directory) {
  ASSIGN_OR_RETURN(const std::optional<std::string> config,
                   ReadTextIfThere(directory, kTokenizerConfigFile, kMaxConfigBytes));
  const absl::StatusOr<ChatFiles> files = ParseChatFiles(config, std::nullopt);
  if (!files.ok()) return "";
  const auto found = files->tokens.find("eos_token");
  return found == files->tokens.end() ? "" : found->second;
}

// What follows of the file's text. INVALID_ARGUMENT says why nothing does.
absl::StatusOr<std::shared_ptr<const AdapterTokens>> Understand(DiskDirectory& directory,
                                                                const std::string& text,
                                                                const Tokenizer& base, AdapterTokens tokens) {
  ASSIGN_OR_RETURN(tokens.more, base.AddedBy(text));
  if (tokens.more == "[]" && tokens.vocab == tokens.base_vocab) return nullptr;
  if (tokens.more.size() > kMaxKeptBytes)
    return InvalidArgument("{} bytes of tokens: at most {} are taken", tokens.more.size(), kMaxKeptBytes);
  ASSIGN_OR_RETURN(tokens.eos_token, EosToken(directory));
  return WithTokenizer(std::move(tokens), base);
}

absl::StatusOr<std::shared_ptr<const AdapterTokens>> Read(Disk& disk, const std::string& path,
                                                          const Tokenizer& base, AdapterTokens tokens,
                                                          std::vector<std::string>* warnings) {
  const int brought = tokens.vocab - tokens.base_vocab;
  ASSIGN_OR_RETURN(const std::unique_ptr<DiskDirectory> directory, disk.OpenDirectory(path));
  const absl::StatusOr<std::optional<std::string>> text =
      ReadTextIfThere(*directory, kTokenizerFile, kMaxTokenizerBytes);
  if (!text.ok() && !absl::IsInvalidArgument(text.status())) return text.status();
  if (text.ok() && !*text) {
    if (brought == 0) return nullptr;
    return InvalidArgument(
        "{}: is missing, and nothing else tells what the adapter's {} tokens beyond the base's are",
        kTokenizerFile, brought);
  }
  absl::StatusOr<std::shared_ptr<const AdapterTokens>> read =
      text.ok() ? Understand(*directory, **text, base, std::move(tokens)) : text.status();
  if (read.ok() || !absl::IsInvalidArgument(read.status())) return read;
  const std::string why(read.status().message());
  if (brought > 0) return InvalidArgument("{}: {}", kTokenizerFile, why);
  warnings->push_back(
      fmt::format("{}: {}: prompts are read with the base model's tokenizer", kTokenizerFile, why));
  return nullptr;
}

}  // namespace

absl::StatusOr<std::shared_ptr<const AdapterTokens>> ReadAdapterTokens(Disk& disk, const std::string& path,
                                                                       const Tokenizer& base, int base_vocab,
                                                                       int vocab,
                                                                       std::vector<std::string>* warnings) {
  AdapterTokens tokens;
  tokens.vocab = vocab;
  tokens.base_vocab = base_vocab;
  try {
    auto read = Read(disk, path, base, std::move(tokens), warnings);
    if (!read.ok()) return Annotate(read.status(), path);
    return read;
  } catch (const std::bad_alloc&) {
    return ResourceExhausted("{}: out of memory", path);
  }
}

}  // namespace hydrad
