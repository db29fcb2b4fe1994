#include "server/adapters/formats/rooted_path.h"

#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "server/base/check.h"
#include "server/base/invalid_argument.h"
#include "server/base/status.h"
#include "server/base/status_macros.h"

namespace hydrad {
namespace {

constexpr int kMostLinks = 40;      // as the kernel's
constexpr size_t kMostNested = 64;  // directories, each of which takes a descriptor
// O_PATH needs no right to list the directory, only to pass through it.
constexpr int kDirectoryFlags = O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
constexpr char kLeaves[] = "leads out of the adapter root through '..' or a symbolic link";

absl::Status WalkError(int error, const char* what) {
  switch (error) {
    case ENOENT:
      return NotFound("no such {}", what);
    case ENOTDIR:
      return InvalidArgument("is not a directory");
    case ENAMETOOLONG:
      return InvalidArgument("has a name that is longer than any directory's");
    case EACCES:
    case EPERM:
      return PermissionDenied("the server may not read this {}", what);
    case ENXIO:  // a socket, or a device without a driver
      return InvalidArgument("is not a regular file");
    default:
      return Internal("cannot be opened: {}", std::strerror(error));
  }
}

// Takes the first component off.
std::string TakeComponent(std::string* path) {
  const size_t slash = path->find('/');
  std::string component = path->substr(0, slash);
  path->erase(0, slash == std::string::npos ? slash : slash + 1);
  return component;
}

std::string WithoutLastSlashes(std::string path) {
  while (path.ends_with('/')) path.pop_back();
  return path;
}

}  // namespace

Descriptor::~Descriptor() {
  if (fd_ >= 0) close(fd_);
}

RootNames NamesOfRoot(const std::string& root) {
  RootNames names = {WithoutLastSlashes(root)};
  const std::unique_ptr<char, void (*)(void*)> resolved(realpath(root.c_str(), nullptr), std::free);
  if (resolved != nullptr && names[0] != resolved.get()) names.push_back(WithoutLastSlashes(resolved.get()));
  return names;
}

bool BehindRoot(const RootNames& names, std::string_view path, std::string_view* rest) {
  for (const std::string& name : names) {
    if (!path.starts_with(name) || (path.size() > name.size() && path[name.size()] != '/')) continue;
    *rest = path.substr(name.size());
    return true;
  }
  return false;
}

RootedPath::RootedPath(Descriptor root, std::shared_ptr<const RootNames> names) : names_(std::move(names)) {
  HYDRAD_CHECK(root.valid());
  chain_.push_back(std::make_shared<const Descriptor>(std::move(root)));
}

absl::Status RootedPath::Enter(std::string_view path) { return Walk(path, Want::kDirectory, nullptr); }

absl::StatusOr<Descriptor> RootedPath::OpenFile(const std::string& name) const {
  HYDRAD_CHECK(name.find('/') == std::string::npos);
  RootedPath at = *this;
  std::string file;
  RETURN_IF_ERROR(at.Walk(name, Want::kFile, &file));
  // The kind is asked before it is opened, since opening a device can have an effect, and again of what was
  // opened, which may be another by now. O_NONBLOCK: a FIFO without a writer would wait.
  struct stat info;
  if (fstatat(at.directory(), file.c_str(), &info, AT_SYMLINK_NOFOLLOW) != 0) return WalkError(errno, "file");
  if (!S_ISREG(info.st_mode)) return InvalidArgument("is not a regular file");
  Descriptor fd(
      openat(at.directory(), file.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
  if (!fd.valid() || fstat(fd.get(), &info) != 0) return WalkError(errno, "file");
  if (!S_ISREG(info.st_mode)) return InvalidArgument("is not a regular file");
  return fd;
}

absl::Status RootedPath::Walk(std::string_view path, Want want, std::string* file) {
  std::string rest(path);
  int links = 0;
  while (!rest.empty()) {
    const std::string name = TakeComponent(&rest);
    if (name.empty() || name == ".") continue;
    if (name == "..") {
      if (chain_.size() == 1) return InvalidArgument("{}", kLeaves);
      chain_.pop_back();
      continue;
    }
    if (want == Want::kFile && rest.empty()) {
      RETURN_IF_ERROR(Follow(name, &rest, &links));
      if (!rest.empty()) continue;
      *file = name;
      return absl::OkStatus();
    }
    // A link is ENOTDIR with O_NOFOLLOW and O_DIRECTORY.
    Descriptor next(openat(directory(), name.c_str(), kDirectoryFlags));
    if (next.valid()) {
      RETURN_IF_ERROR(Down(std::move(next)));
      continue;
    }
    if (errno != ENOTDIR && errno != ELOOP) return WalkError(errno, "directory under the adapter root");
    const std::string behind = rest;
    RETURN_IF_ERROR(Follow(name, &rest, &links));
    if (rest == behind) return InvalidArgument("is not a directory");
  }
  return want == Want::kDirectory ? absl::OkStatus() : InvalidArgument("is not a regular file");
}

absl::Status RootedPath::Follow(const std::string& name, std::string* rest, int* links) {
  char target[PATH_MAX];
  const ssize_t size = readlinkat(directory(), name.c_str(), target, sizeof(target));
  if (size < 0) return errno == EINVAL ? absl::OkStatus() : WalkError(errno, "file");
  if (size == sizeof(target) || ++*links > kMostLinks) {
    return InvalidArgument("passes through too many symbolic links");
  }
  std::string_view to(target, static_cast<size_t>(size));
  if (to.starts_with('/')) {
    if (!BehindRoot(*names_, to, &to)) return InvalidArgument("{}", kLeaves);
    chain_.resize(1);
  }
  *rest = std::string(to) + '/' + *rest;
  return absl::OkStatus();
}

absl::Status RootedPath::Down(Descriptor next) {
  if (chain_.size() == kMostNested) return InvalidArgument("lies in more than {} directories", kMostNested);
  chain_.push_back(std::make_shared<const Descriptor>(std::move(next)));
  return absl::OkStatus();
}

}  // namespace hydrad
