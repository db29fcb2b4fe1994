// Sockets that listen. A process that binds one holds its address against every other from that moment; a
// client that connects waits in the kernel's queue until the process accepts it.
#ifndef HYDRAD_SERVER_BASE_LISTEN_SOCKET_H_
#define HYDRAD_SERVER_BASE_LISTEN_SOCKET_H_

#include <absl/status/statusor.h>

#include <sys/types.h>

#include <string>
#include <vector>

#include "server/base/file_descriptor.h"
#include "server/base/listen_address.h"

namespace hydrad {

// The sockets of one address. Destruction closes them and removes the file of a Unix socket if it is still
// the one that was made. Move-only.
class ListenSocket {
 public:
  // Binds every address that the host stands for (0.0.0.0: all of IPv4; [::]: all of both), on one port.
  // A socket file whose server is gone is replaced. UNAVAILABLE, naming the address, when it cannot be bound:
  // the port is taken, or a process serves the socket file; INVALID_ARGUMENT for a host that is not known or
  // a path that is too long for a socket.
  static absl::StatusOr<ListenSocket> Open(const ListenAddress& address);

  ListenSocket(ListenSocket&&) noexcept = default;
  ListenSocket& operator=(ListenSocket&&) noexcept = delete;
  ~ListenSocket();

  // The address as it was given, with the port that was bound.
  const std::string& address() const { return address_; }
  // At least one socket; none of them blocks.
  const std::vector<FileDescriptor>& sockets() const { return sockets_; }

 private:
  ListenSocket() = default;
  static absl::StatusOr<ListenSocket> OpenUnix(const ListenAddress& address);
  static absl::StatusOr<ListenSocket> OpenTcp(const ListenAddress& address);

  std::string address_;
  std::vector<FileDescriptor> sockets_;
  std::string path_;  // of a Unix socket
  dev_t device_ = 0;  // and its file
  ino_t inode_ = 0;
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_BASE_LISTEN_SOCKET_H_
