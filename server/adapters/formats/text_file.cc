#include "server/adapters/formats/text_file.h"

#include <memory>

#include "server/base/sha256.h"
#include "server/base/status.h"
#include "server/base/status_macros.h"

namespace hydrad {

absl::StatusOr<std::optional<std::string>> ReadTextIfThere(DiskDirectory& directory, const char* name,
                                                           uint64_t max_bytes) {
  Sha256 ignored;
  absl::StatusOr<std::unique_ptr<DiskFile>> file = directory.OpenFile(name);
  if (absl::IsNotFound(file.status())) return std::nullopt;
  if (!file.ok()) return Annotate(file.status(), name);
  const absl::StatusOr<Bytes> bytes = ReadWhole(**file, max_bytes, ignored);
  if (!bytes.ok()) return Annotate(bytes.status(), name);
  return std::string(bytes->text());
}

}  // namespace hydrad
