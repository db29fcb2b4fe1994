#include "server/adapters/store/log_directory.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "server/base/status.h"
#include "server/base/status_macros.h"

namespace hydrad {
namespace {

class Fd {
 public:
  explicit Fd(int fd) : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Fd& operator=(Fd&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~Fd() {
    if (fd_ >= 0) close(fd_);
  }
  int get() const { return fd_; }
  bool ok() const { return fd_ >= 0; }

 private:
  int fd_;
};

class PosixLogDirectory final : public LogDirectory {
 public:
  PosixLogDirectory(std::string path, Fd directory, Fd lock)
      : path_(std::move(path)), directory_(std::move(directory)), lock_(std::move(lock)) {}

  absl::StatusOr<std::string> Read(const std::string& name) override {
    const Fd file = Open(name, O_RDONLY);
    if (!file.ok()) return errno == ENOENT ? absl::StatusOr<std::string>("") : Failed(name, "opened");
    std::string bytes;
    char buffer[1 << 16];
    while (true) {
      const ssize_t count = read(file.get(), buffer, sizeof(buffer));
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) return Failed(name, "read");
      if (count == 0) return bytes;
      bytes.append(buffer, static_cast<size_t>(count));
    }
  }

  absl::Status Append(const std::string& name, std::string_view bytes) override {
    const bool fresh = faccessat(directory_.get(), name.c_str(), F_OK, 0) != 0;
    const Fd file = Open(name, O_WRONLY | O_CREAT | O_APPEND);
    if (!file.ok()) return Failed(name, "opened");
    RETURN_IF_ERROR(Write(name, file, bytes));
    return fresh ? SyncDirectory() : absl::OkStatus();
  }

  absl::Status Truncate(const std::string& name, uint64_t size) override {
    const Fd file = Open(name, O_WRONLY);
    if (!file.ok()) return Failed(name, "opened");
    if (ftruncate(file.get(), static_cast<off_t>(size)) != 0) return Failed(name, "cut");
    return fsync(file.get()) == 0 ? absl::OkStatus() : Failed(name, "synced");
  }

  absl::Status Replace(const std::string& name, std::string_view bytes) override {
    const std::string fresh = name + ".new";
    {
      const Fd file = Open(fresh, O_WRONLY | O_CREAT | O_TRUNC);
      if (!file.ok()) return Failed(fresh, "opened");
      RETURN_IF_ERROR(Write(fresh, file, bytes));
    }
    if (renameat(directory_.get(), fresh.c_str(), directory_.get(), name.c_str()) != 0) {
      return Failed(fresh, "renamed");
    }
    return SyncDirectory();
  }

 private:
  Fd Open(const std::string& name, int flags) const {
    return Fd(openat(directory_.get(), name.c_str(), flags | O_CLOEXEC | O_NOFOLLOW, 0600));
  }
  absl::Status Write(const std::string& name, const Fd& file, std::string_view bytes) const {
    while (!bytes.empty()) {
      const ssize_t count = write(file.get(), bytes.data(), bytes.size());
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) return Failed(name, "written");
      bytes.remove_prefix(static_cast<size_t>(count));
    }
    return fsync(file.get()) == 0 ? absl::OkStatus() : Failed(name, "synced");
  }
  absl::Status SyncDirectory() const {
    return fsync(directory_.get()) == 0 ? absl::OkStatus() : Failed(".", "synced");
  }
  absl::Status Failed(const std::string& name, const char* what) const {
    return Internal("'{}/{}' cannot be {}: {}", path_, name, what, std::strerror(errno));
  }

  const std::string path_;
  const Fd directory_, lock_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<LogDirectory>> OpenLogDirectory(const std::string& path) {
  if (mkdir(path.c_str(), 0700) != 0 && errno != EEXIST) {
    return FailedPrecondition("state directory '{}' cannot be made: {}", path, std::strerror(errno));
  }
  Fd directory(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!directory.ok()) {
    return FailedPrecondition("state directory '{}' cannot be opened: {}", path, std::strerror(errno));
  }
  Fd lock(openat(directory.get(), "lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!lock.ok()) {
    return FailedPrecondition("state directory '{}' cannot be written: {}", path, std::strerror(errno));
  }
  if (flock(lock.get(), LOCK_EX | LOCK_NB) != 0) {
    return FailedPrecondition("state directory '{}' is used by another process", path);
  }
  return std::make_unique<PosixLogDirectory>(path, std::move(directory), std::move(lock));
}

}  // namespace hydrad
