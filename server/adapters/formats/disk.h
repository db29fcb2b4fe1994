// What the adapters room asks of a disk: the files of one directory beneath the adapter root. An interface,
// so that tests can fail the n-th call.
#ifndef HYDRAD_SERVER_ADAPTERS_FORMATS_DISK_H_
#define HYDRAD_SERVER_ADAPTERS_FORMATS_DISK_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "server/base/pages.h"
#include "server/base/sha256.h"

namespace hydrad {

// An open regular file. For one thread at a time.
class DiskFile {
 public:
  virtual ~DiskFile() = default;
  virtual uint64_t size() const = 0;  // when it was opened
  // Fills `out` from `offset` and answers how many bytes there were: fewer than asked for is allowed, 0 is
  // the end.
  virtual absl::StatusOr<size_t> ReadAt(uint64_t offset, std::span<std::byte> out) = 0;
};

// An open directory, which stays the same one when its name is given to another. For one thread at a time.
class DiskDirectory {
 public:
  virtual ~DiskDirectory() = default;
  // Whether there is anything of this name. Errors say more with it; nothing else asks.
  virtual bool Has(const std::string& name) = 0;
  // Opens the regular file `name` (without a slash). NOT_FOUND, PERMISSION_DENIED, or INVALID_ARGUMENT for a
  // FIFO, a device, a directory or a link that leaves the root; the texts do not name the file.
  virtual absl::StatusOr<std::unique_ptr<DiskFile>> OpenFile(const std::string& name) = 0;
};

// Whether `path` is one that can lie beneath a root: relative, 1 to 512 bytes, components without control
// characters that are neither empty nor "." nor "..". INVALID_ARGUMENT otherwise.
absl::Status CheckPath(std::string_view path);
// Makes of a relative path as people type it ("a/", "./a", "a//b") one that CheckPath takes; INVALID_ARGUMENT
// where that cannot be.
absl::StatusOr<std::string> NormalPath(std::string_view path);

// The directories beneath the adapter root. Error texts never hold the root's own path: clients see them.
// Thread-safe.
class Disk {
 public:
  virtual ~Disk() = default;
  // As NormalPath, but takes the absolute path of what lies beneath the root, too. Looks at the text alone.
  virtual absl::StatusOr<std::string> Locate(std::string_view path) const { return NormalPath(path); }
  // Opens the directory `path` beneath the root; see CheckPath. Errors as OpenFile's.
  virtual absl::StatusOr<std::unique_ptr<DiskDirectory>> OpenDirectory(const std::string& path) = 0;
};

// Bytes in memory, and their owner.
struct Bytes {
  Pages data;
  size_t size = 0;

  std::span<const std::byte> span() const { return {data.get(), size}; }
  std::string_view text() const { return {reinterpret_cast<const char*>(data.get()), size}; }
};

// Reads the whole of `file`, and adds it to `digest`. It is read and not mapped, since a file that somebody
// truncates while it is mapped kills the process. UNAVAILABLE for a file that changes its size while it is
// read, INVALID_ARGUMENT for more than `max_size` bytes. Throws std::bad_alloc, which ReadAdapter catches.
absl::StatusOr<Bytes> ReadWhole(DiskFile& file, uint64_t max_size, Sha256& digest);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_ADAPTERS_FORMATS_DISK_H_
