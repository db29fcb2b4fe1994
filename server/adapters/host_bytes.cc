#include "server/adapters/host_bytes.h"

#include <bit>
#include <cstring>
#include <memory>
#include <string_view>
#include <vector>

#include "server/adapters/adapter_config.h"
#include "server/adapters/read_adapter.h"  // kMaxConfigBytes
#include "server/base/sha256.h"
#include "server/model/safetensors.h"

namespace hydrad {
namespace {

// Short files give less.
absl::StatusOr<size_t> ReadFully(DiskFile& file, uint64_t offset, std::span<std::byte> out) {
  size_t done = 0;
  while (done < out.size()) {
    ASSIGN_OR_RETURN(const size_t count, file.ReadAt(offset + done, out.subspan(done)));
    if (count == 0) break;
    done += count;
  }
  return done;
}

absl::StatusOr<bool> HeaderHasF16(DiskFile& file) {
  uint64_t length = 0;
  static_assert(std::endian::native == std::endian::little);
  ASSIGN_OR_RETURN(const size_t read, ReadFully(file, 0, std::as_writable_bytes(std::span(&length, 1))));
  if (read != sizeof(length) || length > Safetensors::kMaxAdapterHeader) return false;
  std::vector<char> header(length);
  ASSIGN_OR_RETURN(const size_t got,
                   ReadFully(file, sizeof(length), std::as_writable_bytes(std::span(header))));
  return std::string_view(header.data(), got).find("\"F16\"") != std::string_view::npos;
}

// Errors of the disk itself; the others are ReadAdapter's to tell.
template <class T>
absl::StatusOr<uint64_t> ZeroUnlessInternal(const absl::StatusOr<T>& result) {
  if (result.status().code() == absl::StatusCode::kInternal) return result.status();
  return 0;
}

// The directories of an MoA's experts; none of another adapter, or where ReadAdapter will say what is wrong.
absl::StatusOr<std::vector<std::string>> ExpertPaths(DiskDirectory& directory) {
  const auto file = directory.OpenFile("adapter_config.json");
  if (file.status().code() == absl::StatusCode::kInternal) return file.status();
  if (!file.ok()) return std::vector<std::string>();
  Sha256 unused;
  ASSIGN_OR_RETURN(const Bytes bytes, ReadWhole(**file, kMaxConfigBytes, unused));
  const auto config = ParseAdapterConfig(bytes.text());
  std::vector<std::string> paths;
  if (!config.ok() || !config->moa) return paths;
  for (const MoaConfig::Expert& expert : config->moa->experts) {
    if (!expert.path.empty()) paths.push_back(expert.path);
  }
  return paths;
}

// Of the one file; F16 becomes F32, which is held beside it.
absl::StatusOr<uint64_t> BytesOfFile(DiskDirectory& directory, uint64_t max_file_bytes) {
  const auto file = directory.OpenFile("adapter_model.safetensors");
  if (!file.ok()) return ZeroUnlessInternal(file);
  const uint64_t size = (*file)->size();
  if (size > max_file_bytes) return 0;
  ASSIGN_OR_RETURN(const bool halves, HeaderHasF16(**file));
  return halves ? 3 * size : size;
}

}  // namespace

absl::StatusOr<uint64_t> HostBytesToRead(Disk& disk, const std::string& path, uint64_t max_file_bytes) {
  const auto directory = disk.OpenDirectory(path);
  if (!directory.ok()) return ZeroUnlessInternal(directory);
  ASSIGN_OR_RETURN(uint64_t bytes, BytesOfFile(**directory, max_file_bytes));
  const auto experts = ExpertPaths(**directory);
  if (!experts.ok()) return ZeroUnlessInternal(experts);
  for (const std::string& expert : *experts) {
    auto apart = disk.OpenDirectory(path + "/" + expert);  // as ReadAdapter looks for it
    if (absl::IsNotFound(apart.status())) apart = disk.OpenDirectory(expert);
    if (!apart.ok()) return ZeroUnlessInternal(apart);
    ASSIGN_OR_RETURN(const uint64_t more, BytesOfFile(**apart, max_file_bytes));
    bytes += more;
  }
  // Rows of routers become F32 too, beside the file.
  return bytes * (experts->empty() ? 1 : 2);
}

}  // namespace hydrad
