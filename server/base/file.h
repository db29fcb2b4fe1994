// Files, read by explicit reads and never mapped: a file that somebody truncates while it is mapped kills the
// process, and one that is written over changes under its reader.
#ifndef HYDRAD_SERVER_BASE_FILE_H_
#define HYDRAD_SERVER_BASE_FILE_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

namespace hydrad {

// An open regular file. It stays the same file when its name is given to another. Any thread may read.
class File {
 public:
  // Opens `path`. Errors name it: NOT_FOUND, PERMISSION_DENIED, INVALID_ARGUMENT for anything but a regular
  // file.
  static absl::StatusOr<std::shared_ptr<const File>> Open(const std::string& path);

  File(const File&) = delete;
  File& operator=(const File&) = delete;
  ~File();

  uint64_t size() const { return size_; }  // when it was opened
  // Fills `out` with the bytes from `offset` on. Errors name the file: INVALID_ARGUMENT when it has too few
  // bytes by now, INTERNAL when the disk fails.
  absl::Status ReadAt(uint64_t offset, std::span<std::byte> out) const;

 private:
  File(std::string path, int fd, uint64_t size) : path_(std::move(path)), fd_(fd), size_(size) {}

  const std::string path_;
  const int fd_;
  uint64_t size_;
};

inline constexpr uint64_t kMaxTextFile = 256u << 20;

// Returns all that a file holds. Errors are those of File, and INVALID_ARGUMENT for more than `max_bytes`.
absl::StatusOr<std::string> ReadFile(const std::string& path, uint64_t max_bytes = kMaxTextFile);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_BASE_FILE_H_
