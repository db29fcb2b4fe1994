#include "server/rpc/acceptor.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <string_view>
#include <tuple>
#include <utility>

#include "server/base/log.h"
#include "server/base/thread_name.h"

namespace hydrad {
namespace {

constexpr std::string_view kPreface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
constexpr Duration kRest = std::chrono::milliseconds(100);
constexpr Duration kTick = std::chrono::seconds(1);
constexpr Duration kBetweenWarnings = std::chrono::seconds(10);
constexpr int kMostOfRecord = 1 << 14;  // bytes of a record of TLS
constexpr int kAtOnce = 64;             // accepted before the others are looked at again
constexpr int kUserTimeout =
    20000;  // milliseconds without an answer to sent bytes, after which a peer is dead

TimePoint Now() { return SteadyClock().Now(); }

void Watch(int epoll, int operation, int fd, uint32_t events) {
  epoll_event event{};
  event.events = events;
  event.data.fd = fd;
  epoll_ctl(epoll, operation, fd, &event);
}

// What a client has said so far: what it begins with, a part of that, something else, or good-bye.
enum class Said { kBeginning, kPart, kOther, kEnd };

Said SaidOfPreface(std::string_view bytes) {
  if (!kPreface.starts_with(bytes)) return Said::kOther;
  return bytes.size() == kPreface.size() ? Said::kBeginning : Said::kPart;
}

// A record of TLS: what it holds (0x16: a handshake), a version (3, minor) and its length in two bytes. In
// the first a client says hello.
Said SaidOfHello(int fd, std::string_view bytes) {
  constexpr std::string_view kHandshake("\x16\x03", 2);
  constexpr size_t kHead = 5;
  if (!bytes.starts_with(kHandshake.substr(0, bytes.size()))) return Said::kOther;
  if (bytes.size() < kHead) return Said::kPart;
  const auto byte = [&](size_t i) { return static_cast<int>(static_cast<unsigned char>(bytes[i])); };
  const int length = (byte(3) << 8) + byte(4);
  if (length > kMostOfRecord) return Said::kOther;
  int there = 0;
  ioctl(fd, FIONREAD, &there);
  return there >= static_cast<int>(kHead) + length ? Said::kBeginning : Said::kPart;
}

Said WhatWasSaid(int fd, bool tls) {
  std::array<char, kPreface.size()> buffer;
  const ssize_t n = recv(fd, buffer.data(), buffer.size(), MSG_PEEK | MSG_DONTWAIT);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return Said::kPart;
  if (n <= 0) return Said::kEnd;
  const std::string_view bytes(buffer.data(), static_cast<size_t>(n));
  return tls ? SaidOfHello(fd, bytes) : SaidOfPreface(bytes);
}

}  // namespace

Acceptor::Acceptor(AcceptorOptions options, const ListenSocket& socket, Metrics& metrics, HandOver hand_over)
    : options_(std::move(options)),
      socket_(socket),
      metrics_(metrics),
      hand_over_(std::move(hand_over)),
      epoll_(epoll_create1(EPOLL_CLOEXEC)),
      stop_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      book_(options_.limits, SocketIdentity, SteadyClock()) {
  Watch(epoll_.get(), EPOLL_CTL_ADD, stop_.get(), EPOLLIN);
  for (const FileDescriptor& fd : socket_.sockets()) Watch(epoll_.get(), EPOLL_CTL_ADD, fd.get(), EPOLLIN);
  thread_ = std::thread([this] { Run(); });
}

Acceptor::~Acceptor() { Stop(); }

void Acceptor::Stop() {
  if (!thread_.joinable()) return;
  eventfd_write(stop_.get(), 1);
  thread_.join();
}

void Acceptor::Run() {
  NameThisThread("accept " + options_.name);
  std::array<epoll_event, 256> events;
  for (;;) {
    const int n = epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()), WaitTime());
    for (int i = 0; i < n; ++i) {
      const int fd = events[i].data.fd;
      if (fd == stop_.get()) {
        while (!silent_.empty()) Drop(silent_.begin(), nullptr);
        return;
      }
      const auto silent = silent_by_fd_.find(fd);
      if (silent != silent_by_fd_.end()) {
        Listen(silent->second);
      } else if (std::ranges::any_of(socket_.sockets(), [&](const auto& own) { return own.get() == fd; })) {
        Accept(fd);
      }
    }
    Tick(Now());
  }
}

int Acceptor::WaitTime() const {
  TimePoint next = next_tick_;
  if (resting_) next = std::min(next, rest_until_);
  if (!silent_.empty()) next = std::min(next, silent_.front().until);
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(next - Now());
  return static_cast<int>(std::clamp<int64_t>(left.count(), 0, 1000));
}

void Acceptor::Accept(int listener_fd) {
  for (int i = 0; i < kAtOnce && !resting_; ++i) {
    if (!AcceptOne(listener_fd)) return;
  }
}

// Whether it is worth trying again at once.
bool Acceptor::AcceptOne(int listener_fd) {
  const int fd = accept4(listener_fd, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
  if (fd < 0) return Survive(errno);
  Welcome(listener_fd, fd);
  return true;
}

bool Acceptor::Survive(int error) {
  switch (error) {
    case EAGAIN:
      return false;
    case EINTR:
    case ECONNABORTED:
    case EPERM:  // a firewall's
    case EPROTO:
    case ENETDOWN:
    case ENOPROTOOPT:
    case EHOSTDOWN:
    case ENONET:
    case EHOSTUNREACH:
    case EOPNOTSUPP:
    case ENETUNREACH:  // failed before it was accepted: its own matter
      return true;
    default:
      break;
  }
  metrics_.AcceptFailed(options_.name, strerrorname_np(error) != nullptr ? strerrorname_np(error) : "other");
  if ((error == EMFILE || error == ENFILE) && !silent_.empty()) {
    Drop(silent_.begin(), "no_descriptors");
    return true;
  }
  BackOff(std::strerror(error));
  return false;
}

// The socket stays readable as long as somebody waits there, so the thread does not look at it for a while.
void Acceptor::BackOff(const char* why) {
  resting_ = true;
  rest_until_ = Now() + kRest;
  for (const FileDescriptor& fd : socket_.sockets()) Watch(epoll_.get(), EPOLL_CTL_MOD, fd.get(), 0);
  ++unsaid_;
  if (Now() < next_warning_) return;
  next_warning_ = Now() + kBetweenWarnings;
  Log()->warn("listener {}: connections cannot be accepted: {} ({} failures, {} open)", options_.name, why,
              unsaid_, book_.open());
  unsaid_ = 0;
}

void Acceptor::Welcome(int listener_fd, int fd) {
  const std::string peer = PeerOf(fd);
  const bool own = !peer.empty() && own_look_.IsOwn(fd);
  if (peer.empty() || (!own && !MakeRoom(peer))) {
    close(fd);
    return;
  }
  setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &kUserTimeout, sizeof kUserTimeout);
  book_.Add(fd, peer, !own);
  silent_.push_back({fd, listener_fd, peer, own, Now() + options_.silence});
  silent_by_fd_[fd] = std::prev(silent_.end());
  Watch(epoll_.get(), EPOLL_CTL_ADD, fd, EPOLLIN | EPOLLRDHUP | EPOLLET);
}

// A client that speaks comes before one that is silent: the oldest silent connection is closed for a new one,
// and it is one of the same peer if that peer has too many.
bool Acceptor::MakeRoom(const std::string& peer) {
  const ConnectionBook::Verdict verdict = book_.MayCome(peer);
  if (verdict == ConnectionBook::Verdict::kWelcome) return true;
  const bool any = verdict == ConnectionBook::Verdict::kTotalReached;
  const auto oldest =
      std::ranges::find_if(silent_, [&](const Silent& s) { return !s.own && (any || s.peer == peer); });
  if (oldest != silent_.end()) {
    Drop(oldest, "silent");
    return book_.MayCome(peer) == ConnectionBook::Verdict::kWelcome || MakeRoom(peer);
  }
  metrics_.ConnectionRefused(options_.name, any ? "total" : "peer");
  return false;
}

void Acceptor::Listen(SilentList::iterator silent) {
  const Said said = WhatWasSaid(silent->fd, options_.tls && !silent->own);
  if (said == Said::kPart) return;
  if (said == Said::kEnd) return Drop(silent, nullptr);  // as a balancer looks whether the port is open
  if (said == Said::kOther) return Drop(silent, options_.tls ? "not_tls" : "not_http2");
  const auto [fd, listener_fd, own] = std::tuple(silent->fd, silent->listener_fd, silent->own);
  Watch(epoll_.get(), EPOLL_CTL_DEL, fd, 0);
  silent_by_fd_.erase(fd);
  silent_.erase(silent);
  hand_over_(listener_fd, fd, own);
}

void Acceptor::Drop(SilentList::iterator silent, const char* reason) {
  const int fd = silent->fd;
  if (reason != nullptr) metrics_.ConnectionRefused(options_.name, reason);
  silent_by_fd_.erase(fd);
  silent_.erase(silent);
  book_.Remove(fd);
  close(fd);
}

void Acceptor::Tick(TimePoint now) {
  while (!silent_.empty() && silent_.front().until <= now) Drop(silent_.begin(), "silent");
  if (resting_ && rest_until_ <= now) {
    resting_ = false;
    for (const FileDescriptor& fd : socket_.sockets()) {
      Watch(epoll_.get(), EPOLL_CTL_MOD, fd.get(), EPOLLIN);
    }
  }
  if (next_tick_ > now) return;
  next_tick_ = now + kTick;
  book_.Sweep();
  metrics_.SetConnections(options_.name, book_.open());
}

}  // namespace hydrad
