#include "server/base/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace hydrad {
namespace {

absl::Status ErrnoStatus(int error, const std::string& path) {
  if (error == ENOENT || error == ENOTDIR) return NotFound("{}: no such file", path);
  if (error == EACCES || error == EPERM) return PermissionDenied("{}: permission denied", path);
  return Internal("{}: {}", path, std::strerror(error));
}

}  // namespace

absl::StatusOr<std::shared_ptr<const MappedFile>> MappedFile::Open(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return ErrnoStatus(errno, path);
  auto file = FromDescriptor(fd, path);
  close(fd);
  return file;
}

absl::StatusOr<std::shared_ptr<const MappedFile>> MappedFile::FromDescriptor(int fd,
                                                                             const std::string& name) {
  struct stat info;
  if (fstat(fd, &info) != 0) return ErrnoStatus(errno, name);
  if (!S_ISREG(info.st_mode)) return InvalidArgument("{}: not a regular file", name);
  if (info.st_size == 0) return std::shared_ptr<const MappedFile>(new MappedFile(nullptr, 0));
  void* data = mmap(nullptr, info.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
  if (data == MAP_FAILED) return ErrnoStatus(errno, name);
  return std::shared_ptr<const MappedFile>(
      new MappedFile(static_cast<const std::byte*>(data), static_cast<size_t>(info.st_size)));
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) munmap(const_cast<std::byte*>(data_), size_);
}

}  // namespace hydrad
