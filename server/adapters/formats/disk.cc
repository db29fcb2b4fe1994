#include "server/adapters/formats/disk.h"

#include <algorithm>

#include "server/base/invalid_argument.h"
#include "server/base/status.h"
#include "server/base/status_macros.h"

namespace hydrad {
namespace {

constexpr size_t kMaxPath = 512;
constexpr size_t kChunk = 16u << 20;  // of one read: what stays in the caches until it is hashed

absl::Status CheckComponent(std::string_view component) {
  if (component.empty() || component == "." || component == "..") {
    return InvalidArgument("path: '.', '..', empty components and a leading or trailing '/' are not allowed");
  }
  const bool control = std::ranges::any_of(component, [](unsigned char c) { return c < 0x20 || c == 0x7f; });
  if (control) return InvalidArgument("path: control characters are not allowed");
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckPath(std::string_view path) {
  if (path.empty() || path.size() > kMaxPath) {
    return InvalidArgument("path: must have 1 to {} bytes", kMaxPath);
  }
  while (true) {
    const size_t slash = path.find('/');
    RETURN_IF_ERROR(CheckComponent(path.substr(0, slash)));
    if (slash == std::string_view::npos) return absl::OkStatus();
    path.remove_prefix(slash + 1);
  }
}

absl::StatusOr<std::string> NormalPath(std::string_view path) {
  if (path.starts_with('/')) return InvalidArgument("path: must be relative to the server's adapter root");
  std::string normal;
  for (size_t begin = 0; begin < path.size();) {
    const size_t end = std::min(path.find('/', begin), path.size());
    const std::string_view component = path.substr(begin, end - begin);
    begin = end + 1;
    if (component.empty() || component == ".") continue;
    if (!normal.empty()) normal += '/';
    normal += component;
  }
  if (normal.empty()) return InvalidArgument("path: must name a directory under the server's adapter root");
  RETURN_IF_ERROR(CheckPath(normal));
  return normal;
}

absl::StatusOr<Bytes> ReadWhole(DiskFile& file, uint64_t max_size, Sha256& digest) {
  if (file.size() > max_size) {
    return InvalidArgument("is of {} bytes, more than the {} that are read", file.size(), max_size);
  }
  Bytes bytes{MakePages(file.size()), file.size()};
  size_t have = 0;
  while (have < bytes.size) {
    const std::span<std::byte> rest(bytes.data.get() + have, std::min(kChunk, bytes.size - have));
    ASSIGN_OR_RETURN(const size_t got, file.ReadAt(have, rest));
    if (got == 0) return Unavailable("became shorter while it was read; publish files by renaming them");
    digest.Update(rest.first(got));
    have += got;
  }
  std::byte more;
  ASSIGN_OR_RETURN(const size_t beyond, file.ReadAt(have, {&more, 1}));
  if (beyond != 0) return Unavailable("became longer while it was read; publish files by renaming them");
  return bytes;
}

}  // namespace hydrad
