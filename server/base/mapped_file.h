// A file mapped read-only into memory.
#ifndef HYDRAD_SERVER_BASE_MAPPED_FILE_H_
#define HYDRAD_SERVER_BASE_MAPPED_FILE_H_

#include <cstddef>
#include <memory>
#include <span>
#include <string>

#include "server/base/status.h"

namespace hydrad {

// Immutable after Open, so any thread may read. The bytes live as long as the object. A file that is
// truncated by somebody else while it is mapped raises SIGBUS on access: publish files by rename.
class MappedFile {
 public:
  // Errors: NOT_FOUND, PERMISSION_DENIED, or INVALID_ARGUMENT for anything but a regular file.
  static absl::StatusOr<std::shared_ptr<const MappedFile>> Open(const std::string& path);
  // As Open, from a descriptor that the caller has opened and keeps; `name` is used in errors.
  static absl::StatusOr<std::shared_ptr<const MappedFile>> FromDescriptor(int fd, const std::string& name);

  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  ~MappedFile();

  std::span<const std::byte> bytes() const { return {data_, size_}; }

 private:
  MappedFile(const std::byte* data, size_t size) : data_(data), size_(size) {}

  const std::byte* data_;  // null when the file is empty
  size_t size_;
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_BASE_MAPPED_FILE_H_
