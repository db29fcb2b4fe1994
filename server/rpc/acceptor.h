// Takes connections from a listening socket and gives them to gRPC. gRPC 1.51's own acceptor stops for good
// when it runs out of descriptors once, and knows no limit on connections.
#ifndef HYDRAD_SERVER_RPC_ACCEPTOR_H_
#define HYDRAD_SERVER_RPC_ACCEPTOR_H_

#include <functional>
#include <list>
#include <string>
#include <thread>
#include <unordered_map>

#include "server/base/clock.h"
#include "server/base/listen_socket.h"
#include "server/front/connection_book.h"
#include "server/front/own_look.h"
#include "server/metrics/metrics.h"

namespace hydrad {

struct AcceptorOptions {
  std::string name;         // of the listener, in the log and in metrics
  ConnectionLimits limits;  // of the connections that are open at once
  // How long a connection may stay silent before its client has spoken HTTP/2's preface, or TLS's first
  // record. Until then gRPC does not know it, and it is the first to be closed when there is no room.
  Duration silence = std::chrono::seconds(20);
  bool tls = false;  // clients speak it, but for the daemon itself
};

// One thread. Until its client has spoken, a connection costs a descriptor and no more: only then gRPC hears
// of it. No failure of the system ends the thread, which logs and counts it, waits a little and goes on.
class Acceptor {
 public:
  // Takes a connection, with the listening socket that it came from. `own`: the daemon itself is at its other
  // end, and speaks in plain text.
  using HandOver = std::function<void(int listener_fd, int fd, bool own)>;

  // `socket` and `metrics` must outlive this.
  Acceptor(AcceptorOptions options, const ListenSocket& socket, Metrics& metrics, HandOver hand_over);
  // Stops it.
  ~Acceptor();
  Acceptor(const Acceptor&) = delete;
  Acceptor& operator=(const Acceptor&) = delete;

  // Takes no more connections, and closes those that are not given away yet. Idempotent; thread-safe.
  void Stop();

  const std::string& name() const { return options_.name; }
  // No limit keeps out the daemon's own look at itself.
  OwnLook& own_look() { return own_look_; }

 private:
  // A connection whose client has not spoken yet.
  struct Silent {
    int fd, listener_fd;
    std::string peer;
    bool own;
    TimePoint until;
  };
  using SilentList = std::list<Silent>;

  void Run();
  int WaitTime() const;  // milliseconds until there is something to do
  void Accept(int listener_fd);
  bool AcceptOne(int listener_fd);
  bool Survive(int error);
  void BackOff(const char* why);
  void Welcome(int listener_fd, int fd);
  bool MakeRoom(const std::string& peer);
  void Listen(SilentList::iterator silent);
  void Drop(SilentList::iterator silent, const char* reason);
  void Tick(TimePoint now);

  const AcceptorOptions options_;
  const ListenSocket& socket_;
  Metrics& metrics_;
  const HandOver hand_over_;
  FileDescriptor epoll_, stop_;
  OwnLook own_look_;

  // Owned by the thread.
  ConnectionBook book_;
  SilentList silent_;  // oldest first
  std::unordered_map<int, SilentList::iterator> silent_by_fd_;
  bool resting_ = false;  // after a failure
  TimePoint rest_until_{}, next_tick_{}, next_warning_{};
  int unsaid_ = 0;  // failures since the last warning

  std::thread thread_;  // last: it uses the rest
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_RPC_ACCEPTOR_H_
