// Which connections a listener has open, and whether one more may come.
#ifndef HYDRAD_SERVER_FRONT_CONNECTION_BOOK_H_
#define HYDRAD_SERVER_FRONT_CONNECTION_BOOK_H_

#include <sys/socket.h>

#include <cstdint>
#include <functional>
#include <string>
#include <unordered_map>

#include "server/base/clock.h"

namespace hydrad {

struct ConnectionLimits {
  int total = 1024;
  int per_peer = 256;  // from one address (IPv6: one /64 network; Unix socket: one user)
};

// A connection is given away for good, and nobody tells when it ends. The book keeps the number of its
// descriptor and the identity of the socket behind it; as soon as another socket or none has that number, it
// knows that the connection is gone. Not thread-safe.
class ConnectionBook {
 public:
  // `identity` gives the identity of the socket behind a descriptor; 0 if there is none.
  ConnectionBook(ConnectionLimits limits, std::function<uint64_t(int fd)> identity, const Clock& clock);

  enum class Verdict { kWelcome, kTotalReached, kPeerReached };
  // Whether one more may come from `peer`. If there seems to be no room, it looks for connections that have
  // gone, but not so often that it would spend most of the time on that.
  Verdict MayCome(const std::string& peer);
  // A connection has come. `counted` says whether it counts against the limits, as all but the daemon's own
  // look at itself do.
  void Add(int fd, const std::string& peer, bool counted = true);
  // The caller knows that the connection is gone.
  void Remove(int fd);
  // Forgets the connections that are gone.
  void Sweep();
  // The number of counted connections, as far as the book knows.
  int open() const { return open_; }

 private:
  struct Entry {
    uint64_t identity;
    std::string peer;
    bool counted;
  };
  Verdict Judge(const std::string& peer) const;
  void Uncount(const Entry& entry);

  const ConnectionLimits limits_;
  const std::function<uint64_t(int)> identity_;
  const Clock& clock_;
  std::unordered_map<int, Entry> entries_;  // by descriptor
  std::unordered_map<std::string, int> of_peer_;
  int open_ = 0;
  TimePoint next_look_{};
};

// The inode of the socket behind a descriptor of this process; 0 if there is no socket.
uint64_t SocketIdentity(int fd);

// Who is at the other end, as far as limits go; "" if it is gone already.
std::string PeerOf(int fd);

// An address of the network with its port, which only one socket has at a time; "" for any other address.
std::string PlaceOf(const sockaddr_storage& address);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_FRONT_CONNECTION_BOOK_H_
