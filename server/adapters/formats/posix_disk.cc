#include "server/adapters/formats/posix_disk.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "server/adapters/formats/rooted_path.h"
#include "server/base/invalid_argument.h"
#include "server/base/status.h"
#include "server/base/status_macros.h"

namespace hydrad {
namespace {

class PosixFile final : public DiskFile {
 public:
  PosixFile(Descriptor fd, uint64_t size) : fd_(std::move(fd)), size_(size) {}

  uint64_t size() const override { return size_; }
  absl::StatusOr<size_t> ReadAt(uint64_t offset, std::span<std::byte> out) override {
    while (true) {
      const ssize_t got = pread(fd_.get(), out.data(), out.size(), static_cast<off_t>(offset));
      if (got >= 0) return static_cast<size_t>(got);
      if (errno != EINTR) return Internal("cannot be read: {}", std::strerror(errno));
    }
  }

 private:
  Descriptor fd_;
  uint64_t size_;
};

class PosixDirectory final : public DiskDirectory {
 public:
  explicit PosixDirectory(RootedPath path) : path_(std::move(path)) {}

  bool Has(const std::string& name) override {
    struct stat info;
    return fstatat(path_.directory(), name.c_str(), &info, AT_SYMLINK_NOFOLLOW) == 0;
  }

  absl::StatusOr<std::unique_ptr<DiskFile>> OpenFile(const std::string& name) override {
    ASSIGN_OR_RETURN(Descriptor fd, path_.OpenFile(name));
    struct stat info;
    if (fstat(fd.get(), &info) != 0) return Internal("cannot be read: {}", std::strerror(errno));
    return std::make_unique<PosixFile>(std::move(fd), static_cast<uint64_t>(info.st_size));
  }

 private:
  const RootedPath path_;
};

class PosixDisk final : public Disk {
 public:
  explicit PosixDisk(std::string root)
      : root_(std::move(root)), names_(std::make_shared<const RootNames>(NamesOfRoot(root_))) {}

  absl::StatusOr<std::string> Locate(std::string_view path) const override {
    if (!path.starts_with('/') || root_.empty()) return NormalPath(path);
    if (BehindRoot(*names_, path, &path))
      return NormalPath(path.substr(std::min(path.find_first_not_of('/'), path.size())));
    return InvalidArgument("path: is not beneath the server's adapter root");
  }

  absl::StatusOr<std::unique_ptr<DiskDirectory>> OpenDirectory(const std::string& path) override {
    RETURN_IF_ERROR(CheckPath(path));
    if (root_.empty()) return FailedPrecondition("the server has no adapter root");
    Descriptor root(open(root_.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    if (!root.valid()) return FailedPrecondition("the adapter root: {}", std::strerror(errno));
    RootedPath place(std::move(root), names_);
    RETURN_IF_ERROR(place.Enter(path));
    return std::make_unique<PosixDirectory>(std::move(place));
  }

 private:
  const std::string root_;
  const std::shared_ptr<const RootNames> names_;
};

}  // namespace

std::unique_ptr<Disk> MakePosixDisk(std::string root) { return std::make_unique<PosixDisk>(std::move(root)); }

}  // namespace hydrad
