#include "server/front/listener_probe.h"

#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "server/base/log.h"
#include "server/base/thread_name.h"
#include "server/front/connection_book.h"

namespace hydrad {
namespace {

union Address {
  sockaddr any;
  sockaddr_in v4;
  sockaddr_in6 v6;
  sockaddr_un path;
  sockaddr_storage storage;
};

// Where the listener can be reached from here. One that listens on every address listens on loopback, too.
Address Reach(int listener_fd, socklen_t* size) {
  Address address{};
  *size = sizeof address;
  getsockname(listener_fd, &address.any, size);
  if (address.any.sa_family == AF_INET && address.v4.sin_addr.s_addr == htonl(INADDR_ANY)) {
    address.v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  } else if (address.any.sa_family == AF_INET6 && IN6_IS_ADDR_UNSPECIFIED(&address.v6.sin6_addr)) {
    address.v6.sin6_addr = in6addr_loopback;
  }
  return address;
}

// Takes the place that the connection will come from, and tells it before the connection comes.
void BindAndTell(int fd, Address address, socklen_t size, OwnLook& own_look) {
  if (address.any.sa_family == AF_UNIX) return;
  in_port_t& port = address.any.sa_family == AF_INET ? address.v4.sin_port : address.v6.sin6_port;
  port = 0;
  if (bind(fd, &address.any, size) != 0 || getsockname(fd, &address.any, &size) != 0) return;
  own_look.Expect(PlaceOf(address.storage));
}

// Returns a connection to the listener, or none if it is not made within the limit.
FileDescriptor Connect(const ListenerProbe::Target& target, Duration limit) {
  socklen_t size = 0;
  const Address address = Reach(target.socket->sockets().front().get(), &size);
  FileDescriptor fd(socket(address.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (fd.get() < 0) return {};
  BindAndTell(fd.get(), address, size, *target.own_look);
  if (connect(fd.get(), &address.any, size) == 0) return fd;
  if (errno != EINPROGRESS) return {};
  pollfd ready = {fd.get(), POLLOUT, 0};
  const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(limit);
  if (poll(&ready, 1, static_cast<int>(left.count())) != 1) return {};
  int error = 0;
  size = sizeof error;
  getsockopt(fd.get(), SOL_SOCKET, SO_ERROR, &error, &size);
  return error == 0 ? std::move(fd) : FileDescriptor();
}

bool Answers(const ListenerProbe::Target& target, Duration limit) {
  FileDescriptor fd = Connect(target, limit);
  return fd.get() >= 0 && target.answers(std::move(fd), limit);
}

}  // namespace

ListenerProbe::ListenerProbe(ProbeOptions options, std::function<void(const std::string&, bool)> told)
    : options_(options), told_(std::move(told)), thread_([this] { Run(); }) {}

ListenerProbe::~ListenerProbe() { Stop(); }

void ListenerProbe::Add(Target target) {
  MutexLock lock(&mu_);
  watched_.push_back({.target = std::move(target)});
  fresh_ = true;
}

void ListenerProbe::Stop() {
  if (!thread_.joinable()) return;
  {
    MutexLock lock(&mu_);
    stopping_ = true;
  }
  thread_.join();
}

bool ListenerProbe::all_answer() const {
  MutexLock lock(&mu_);
  return silent_ == 0;
}

void ListenerProbe::Run() {
  NameThisThread("probe");
  for (;;) {
    for (size_t i = 0; Watched* watched = Next(i); ++i) Look(*watched);
    MutexLock lock(&mu_);
    mu_.AwaitFor(options_.interval, [&]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return stopping_ || fresh_; });
    if (stopping_) return;
  }
}

// Null at the end of a round.
ListenerProbe::Watched* ListenerProbe::Next(size_t index) {
  MutexLock lock(&mu_);
  if (index == 0) fresh_ = false;
  return stopping_ || index >= watched_.size() ? nullptr : &watched_[index];
}

void ListenerProbe::Look(Watched& watched) {
  const std::string& name = watched.target.name;
  const bool answered = Answers(watched.target, options_.limit);
  watched.target.own_look->Expect("");
  const bool counted = watched.failed >= options_.failures;
  watched.failed = answered ? 0 : watched.failed + 1;
  const bool counts = watched.failed >= options_.failures;
  if (counts && !counted)
    Log()->error("listener {} does not answer: {} looks in a row failed", name, watched.failed);
  if (counted && !counts) Log()->info("listener {} answers again", name);
  {
    MutexLock lock(&mu_);
    silent_ += static_cast<int>(counts) - static_cast<int>(counted);
  }
  told_(name, answered);
}

}  // namespace hydrad
