#include "server/base/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "server/base/invalid_argument.h"
#include "server/base/status.h"
#include "server/base/status_macros.h"

namespace hydrad {
namespace {

absl::Status ErrnoStatus(int error, const std::string& path) {
  if (error == ENOENT || error == ENOTDIR) return NotFound("{}: no such file", path);
  if (error == EACCES || error == EPERM) return PermissionDenied("{}: permission denied", path);
  return Internal("{}: {}", path, std::strerror(error));
}

}  // namespace

absl::StatusOr<std::shared_ptr<const File>> File::Open(const std::string& path) {
  // O_NONBLOCK: a FIFO without a writer would wait.
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return ErrnoStatus(errno, path);
  std::shared_ptr<File> file(new File(path, fd, 0));
  struct stat info;
  if (fstat(fd, &info) != 0) return ErrnoStatus(errno, path);
  if (!S_ISREG(info.st_mode)) return InvalidArgument("{}: not a regular file", path);
  file->size_ = static_cast<uint64_t>(info.st_size);
  return std::shared_ptr<const File>(std::move(file));
}

File::~File() { close(fd_); }

absl::Status File::ReadAt(uint64_t offset, std::span<std::byte> out) const {
  constexpr size_t kAtOnce = size_t{1} << 30;  // Linux reads no more than 2 GiB in one call
  while (!out.empty()) {
    const ssize_t got = pread(fd_, out.data(), std::min(out.size(), kAtOnce), static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return ErrnoStatus(errno, path_);
    if (got == 0) return InvalidArgument("{}: ends at byte {}, before what is read of it", path_, offset);
    offset += static_cast<uint64_t>(got);
    out = out.subspan(static_cast<size_t>(got));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> ReadFile(const std::string& path, uint64_t max_bytes) {
  ASSIGN_OR_RETURN(const std::shared_ptr<const File> file, File::Open(path));
  if (file->size() > max_bytes) return InvalidArgument("{}: larger than {} bytes", path, max_bytes);
  std::string bytes(file->size(), '\0');
  RETURN_IF_ERROR(file->ReadAt(0, std::as_writable_bytes(std::span(bytes))));
  return bytes;
}

}  // namespace hydrad
