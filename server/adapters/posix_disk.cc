#include "server/adapters/posix_disk.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

namespace hydrad {
namespace {

// An open descriptor, closed by destruction; -1: none.
class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~Descriptor() {
    if (fd_ >= 0) close(fd_);
  }
  int get() const { return fd_; }
  bool valid() const { return fd_ >= 0; }

 private:
  int fd_;
};

// O_PATH needs no right to list the directory, only to pass through it.
constexpr int kDirectoryFlags = O_PATH | O_DIRECTORY | O_CLOEXEC;
constexpr char kLink[] = "is or passes through a symbolic link, and none is followed";

absl::Status DirectoryError(int error) {
  switch (error) {
    case ENOENT:
      return NotFound("no such directory under the adapter root");
    case ENOTDIR:
      return InvalidArgument("is not a directory, or {}", kLink);
    case ELOOP:
      return InvalidArgument("{}", kLink);
    case EXDEV:
      return InvalidArgument("leads out of the adapter root");
    case ENAMETOOLONG:
      return InvalidArgument("has a name that is longer than any directory's");
    case EACCES:
      return PermissionDenied("the server may not read this directory");
    default:
      return Internal("cannot be opened: {}", std::strerror(error));
  }
}

absl::Status FileError(int error) {
  switch (error) {
    case ENOENT:
      return NotFound("no such file");
    case ELOOP:
      return InvalidArgument("is a symbolic link, and none is followed; copy the file");
    case EACCES:
      return PermissionDenied("the server may not read this file");
    case ENXIO:  // a socket, or a device without a driver
      return InvalidArgument("is not a regular file");
    default:
      return Internal("cannot be read: {}", std::strerror(error));
  }
}

class PosixFile final : public DiskFile {
 public:
  PosixFile(Descriptor fd, uint64_t size) : fd_(std::move(fd)), size_(size) {}

  uint64_t size() const override { return size_; }
  absl::StatusOr<size_t> ReadAt(uint64_t offset, std::span<std::byte> out) override {
    while (true) {
      const ssize_t got = pread(fd_.get(), out.data(), out.size(), static_cast<off_t>(offset));
      if (got >= 0) return static_cast<size_t>(got);
      if (errno != EINTR) return FileError(errno);
    }
  }

 private:
  Descriptor fd_;
  uint64_t size_;
};

class PosixDirectory final : public DiskDirectory {
 public:
  explicit PosixDirectory(Descriptor fd) : fd_(std::move(fd)) {}

  bool Has(const std::string& name) override {
    struct stat info;
    return fstatat(fd_.get(), name.c_str(), &info, AT_SYMLINK_NOFOLLOW) == 0;
  }

  absl::StatusOr<std::unique_ptr<DiskFile>> OpenFile(const std::string& name) override {
    HYDRAD_CHECK(name.find('/') == std::string::npos);
    // What it is is asked before it is opened: opening a device can have an effect.
    struct stat info;
    if (fstatat(fd_.get(), name.c_str(), &info, AT_SYMLINK_NOFOLLOW) != 0) return FileError(errno);
    if (S_ISLNK(info.st_mode)) return FileError(ELOOP);
    if (!S_ISREG(info.st_mode)) return InvalidArgument("is not a regular file");

    // And again of what was opened, which may be another by now. O_NONBLOCK: a FIFO without a writer would
    // wait.
    Descriptor fd(openat(fd_.get(), name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
    if (!fd.valid() || fstat(fd.get(), &info) != 0) return FileError(errno);
    if (!S_ISREG(info.st_mode)) return InvalidArgument("is not a regular file");
    return std::make_unique<PosixFile>(std::move(fd), static_cast<uint64_t>(info.st_size));
  }

 private:
  Descriptor fd_;
};

Descriptor OpenBeneath(int root, const std::string& path) {
  struct open_how how = {};
  how.flags = kDirectoryFlags;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
  long fd;
  do {  // EAGAIN: something was renamed meanwhile, so that the kernel could not be sure of '..'
    fd = syscall(SYS_openat2, root, path.c_str(), &how, sizeof(how));
  } while (fd < 0 && (errno == EINTR || errno == EAGAIN));
  return Descriptor(static_cast<int>(fd));
}

Descriptor Walk(int root, std::string_view path) {
  Descriptor here(-1);
  while (true) {
    const size_t slash = path.find('/');
    const std::string component(path.substr(0, slash));
    // With O_NOFOLLOW and O_DIRECTORY a link is ENOTDIR.
    Descriptor next(
        openat(here.valid() ? here.get() : root, component.c_str(), kDirectoryFlags | O_NOFOLLOW));
    if (!next.valid() || slash == std::string_view::npos) return next;
    here = std::move(next);
    path.remove_prefix(slash + 1);
  }
}

class PosixDisk final : public Disk {
 public:
  PosixDisk(std::string root, Beneath beneath) : root_(std::move(root)), beneath_(beneath) {}

  absl::StatusOr<std::unique_ptr<DiskDirectory>> OpenDirectory(const std::string& path) override {
    RETURN_IF_ERROR(CheckPath(path));
    if (root_.empty()) return FailedPrecondition("the server has no adapter root");
    const Descriptor root(open(root_.c_str(), kDirectoryFlags));
    if (!root.valid()) return FailedPrecondition("the adapter root: {}", std::strerror(errno));

    Descriptor fd(-1);
    bool walk = beneath_ == Beneath::kWalk;
    if (!walk) {
      fd = OpenBeneath(root.get(), path);
      // Old kernels answer ENOSYS, some container runtimes EPERM for any call they do not know.
      walk = !fd.valid() && (errno == ENOSYS || errno == EPERM);
    }
    if (walk) fd = Walk(root.get(), path);
    if (!fd.valid()) return DirectoryError(errno);
    return std::make_unique<PosixDirectory>(std::move(fd));
  }

 private:
  const std::string root_;
  const Beneath beneath_;
};

}  // namespace

std::unique_ptr<Disk> MakePosixDisk(std::string root, Beneath beneath) {
  return std::make_unique<PosixDisk>(std::move(root), beneath);
}

}  // namespace hydrad
