// A place beneath a directory. Nothing leads out of the directory: no '..', no link, no race with one who
// renames.
#ifndef HYDRAD_SERVER_ADAPTERS_FORMATS_ROOTED_PATH_H_
#define HYDRAD_SERVER_ADAPTERS_FORMATS_ROOTED_PATH_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace hydrad {

// An open descriptor, closed by destruction; -1: none.
class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~Descriptor();
  int get() const { return fd_; }
  bool valid() const { return fd_ >= 0; }

 private:
  int fd_;
};

// The root's names, without a '/' at their end: as it was given, and with the links to it resolved. An
// absolute link, or path, is beneath the root if it begins with one of them.
using RootNames = std::vector<std::string>;
RootNames NamesOfRoot(const std::string& root);
// The rest of an absolute `path` behind the root's name; false: it is not beneath the root.
bool BehindRoot(const RootNames& names, std::string_view path, std::string_view* rest);

// An open directory: the chain of directories, all of them open, from the root to it. A path is walked from
// component to component by opening each in the one before and never by a name that the kernel resolves
// further; '..' goes back in the chain, so that what is renamed meanwhile cannot lead out. Links are read and
// walked likewise, relative or absolute, and stay beneath the root or are refused. A copy shares the
// descriptors. For one thread at a time.
class RootedPath {
 public:
  // At the root itself. REQUIRES: an open directory.
  RootedPath(Descriptor root, std::shared_ptr<const RootNames> names);

  // Goes to the directory `path`. NOT_FOUND, PERMISSION_DENIED; INVALID_ARGUMENT for what is no directory and
  // for a link that leaves the root; INTERNAL. The texts do not name it. On an error the place is undefined.
  absl::Status Enter(std::string_view path);
  // Opens the regular file `name` of this directory for reading; errors as above. A FIFO or a device is not
  // opened.
  absl::StatusOr<Descriptor> OpenFile(const std::string& name) const;

  int directory() const { return chain_.back()->get(); }

 private:
  enum class Want { kDirectory, kFile };
  // Walks `path`; of a file, to its directory and its last name.
  absl::Status Walk(std::string_view path, Want want, std::string* file);
  // Replaces the link `name` in the present directory, if it is one, by what it says, in front of `rest`.
  absl::Status Follow(const std::string& name, std::string* rest, int* links);
  absl::Status Down(Descriptor next);

  std::vector<std::shared_ptr<const Descriptor>> chain_;  // from the root; never empty
  std::shared_ptr<const RootNames> names_;
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_ADAPTERS_FORMATS_ROOTED_PATH_H_
