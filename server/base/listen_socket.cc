#include "server/base/listen_socket.h"

#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <memory>

#include "server/base/invalid_argument.h"
#include "server/base/status.h"
#include "server/base/status_macros.h"

namespace hydrad {
namespace {

constexpr int kBacklog = 4096;  // the kernel cuts it to its own limit

absl::Status CannotBind(const ListenAddress& address, int error) {
  return Unavailable("listen address '{}' cannot be bound: {}", address.text, std::strerror(error));
}

using Addresses = std::unique_ptr<addrinfo, decltype(&freeaddrinfo)>;

absl::StatusOr<Addresses> Resolve(const ListenAddress& address) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  const std::string port = std::to_string(address.port);
  const int error = getaddrinfo(address.host.c_str(), port.c_str(), &hints, &found);
  if (error != 0) {
    return InvalidArgument("listen address '{}': host '{}': {}", address.text, address.host,
                           gai_strerror(error));
  }
  return Addresses(found, &freeaddrinfo);
}

in_port_t& PortOf(sockaddr* address) {
  return address->sa_family == AF_INET6 ? reinterpret_cast<sockaddr_in6*>(address)->sin6_port
                                        : reinterpret_cast<sockaddr_in*>(address)->sin_port;
}

// A socket on one address; errno of what failed otherwise.
FileDescriptor ListenOn(const addrinfo& where) {
  FileDescriptor fd(socket(where.ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  const int on = 1, off = 0;
  if (fd.get() < 0) return {};
  setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);  // its connections inherit it
  if (where.ai_family == AF_INET6) setsockopt(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
  if (bind(fd.get(), where.ai_addr, where.ai_addrlen) != 0 || listen(fd.get(), kBacklog) != 0) return {};
  return fd;
}

int BoundPort(int fd) {
  sockaddr_storage bound{};
  socklen_t size = sizeof bound;
  getsockname(fd, reinterpret_cast<sockaddr*>(&bound), &size);
  return ntohs(PortOf(reinterpret_cast<sockaddr*>(&bound)));
}

// Whether a process answers on a socket file. A full queue is an answer.
bool IsServed(const sockaddr_un& where) {
  const FileDescriptor fd(socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  return connect(fd.get(), reinterpret_cast<const sockaddr*>(&where), sizeof where) == 0 || errno == EAGAIN;
}

// Takes away the socket file of a server that is gone.
absl::Status RemoveStale(const ListenAddress& address, const sockaddr_un& where) {
  struct stat file {};
  if (lstat(where.sun_path, &file) != 0) return absl::OkStatus();
  if (!S_ISSOCK(file.st_mode)) {
    return Unavailable("listen address '{}' cannot be bound: a file that is not a socket is there",
                       address.text);
  }
  if (IsServed(where)) {
    return Unavailable("listen address '{}' cannot be bound: another process serves it", address.text);
  }
  return unlink(where.sun_path) == 0 || errno == ENOENT ? absl::OkStatus() : CannotBind(address, errno);
}

}  // namespace

absl::StatusOr<ListenSocket> ListenSocket::Open(const ListenAddress& address) {
  return address.host.empty() ? OpenUnix(address) : OpenTcp(address);
}

absl::StatusOr<ListenSocket> ListenSocket::OpenTcp(const ListenAddress& address) {
  ASSIGN_OR_RETURN(const Addresses found, Resolve(address));
  ListenSocket out;
  int port = address.port, error = 0;
  for (addrinfo* next = found.get(); next != nullptr; next = next->ai_next) {
    PortOf(next->ai_addr) = htons(static_cast<in_port_t>(port));
    FileDescriptor fd = ListenOn(*next);
    if (fd.get() < 0) {
      error = errno;
      // A host may stand for addresses of a family that this machine has not.
      if (error == EADDRNOTAVAIL || error == EAFNOSUPPORT) continue;
      return CannotBind(address, error);
    }
    port = BoundPort(fd.get());
    out.sockets_.push_back(std::move(fd));
  }
  if (out.sockets_.empty()) return CannotBind(address, error);
  out.address_ = BoundText(address, port);
  return out;
}

absl::StatusOr<ListenSocket> ListenSocket::OpenUnix(const ListenAddress& address) {
  const std::string path = address.text.substr(std::strlen("unix:"));
  sockaddr_un where{};
  where.sun_family = AF_UNIX;
  if (path.size() >= sizeof where.sun_path) {
    return InvalidArgument("listen address '{}': the path of a socket has at most {} bytes", address.text,
                           sizeof where.sun_path - 1);
  }
  std::memcpy(where.sun_path, path.data(), path.size());
  ListenSocket out;
  out.address_ = address.text;
  FileDescriptor fd(socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (fd.get() < 0) return CannotBind(address, errno);
  // Of two processes that start at once, the second must not find the first one's socket before it listens.
  const std::string parent = std::filesystem::path(path).parent_path().string();
  const FileDescriptor directory(
      open(parent.empty() ? "." : parent.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (directory.get() >= 0) flock(directory.get(), LOCK_EX);
  RETURN_IF_ERROR(RemoveStale(address, where));
  if (bind(fd.get(), reinterpret_cast<const sockaddr*>(&where), sizeof where) != 0 ||
      listen(fd.get(), kBacklog) != 0) {
    return CannotBind(address, errno);
  }
  struct stat file {};
  if (lstat(where.sun_path, &file) != 0) return CannotBind(address, errno);
  out.path_ = path;
  out.device_ = file.st_dev;
  out.inode_ = file.st_ino;
  out.sockets_.push_back(std::move(fd));
  return out;
}

ListenSocket::~ListenSocket() {
  struct stat file {};
  if (path_.empty() || lstat(path_.c_str(), &file) != 0) return;
  if (file.st_dev == device_ && file.st_ino == inode_) unlink(path_.c_str());
}

}  // namespace hydrad
