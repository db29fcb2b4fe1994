// A file descriptor with an owner.
#ifndef HYDRAD_SERVER_BASE_FILE_DESCRIPTOR_H_
#define HYDRAD_SERVER_BASE_FILE_DESCRIPTOR_H_

#include <unistd.h>

#include <utility>

namespace hydrad {

// Owns a descriptor and closes it by destruction. Move-only; -1 is none.
class FileDescriptor {
 public:
  FileDescriptor() = default;
  explicit FileDescriptor(int fd) : fd_(fd) {}
  FileDescriptor(FileDescriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  FileDescriptor& operator=(FileDescriptor&& other) noexcept {
    std::swap(fd_, other.fd_);
    other.Reset();
    return *this;
  }
  ~FileDescriptor() { Reset(); }

  int get() const { return fd_; }
  // Gives the descriptor to the caller, who closes it.
  int Release() { return std::exchange(fd_, -1); }
  void Reset() {
    if (fd_ >= 0) close(std::exchange(fd_, -1));
  }

 private:
  int fd_ = -1;
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_BASE_FILE_DESCRIPTOR_H_
