#include "server/http/http_server.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cerrno>
#include <cstring>
#include <list>
#include <optional>
#include <unordered_map>
#include <utility>
#include <vector>

#include "server/base/listen_address.h"
#include "server/base/log.h"
#include "server/base/mutex.h"
#include "server/base/status_macros.h"
#include "server/base/thread_name.h"
#include "server/front/peer_name.h"
#include "server/http/connection.h"

namespace hydrad {
namespace {

namespace asio = boost::asio;
using Error = boost::system::error_code;

constexpr Duration kTick = std::chrono::milliseconds(500);
constexpr Duration kRest = std::chrono::milliseconds(100);
constexpr int kAtOnce = 64;  // accepted before the others are looked at again
// Milliseconds without an answer to sent bytes, after which a peer is dead.
constexpr int kUserTimeout = 20000;
constexpr int kOn = 1;

TimePoint Now() { return SteadyClock().Now(); }

// Any answer of HTTP will do.
bool AnswersGet(FileDescriptor connection, Duration limit) {
  constexpr std::string_view kQuestion = "GET /health HTTP/1.1\r\nHost: hydrad\r\nConnection: close\r\n\r\n";
  constexpr std::string_view kBegin = "HTTP/1.1 ";
  if (send(connection.get(), kQuestion.data(), kQuestion.size(), MSG_NOSIGNAL) !=
      static_cast<ssize_t>(kQuestion.size())) {
    return false;
  }
  pollfd ready = {connection.get(), POLLIN, 0};
  const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(limit);
  if (poll(&ready, 1, static_cast<int>(left.count())) != 1) return false;
  std::array<char, kBegin.size()> said{};
  const ssize_t n = recv(connection.get(), said.data(), said.size(), 0);
  return n == static_cast<ssize_t>(said.size()) && std::string_view(said.data(), said.size()) == kBegin;
}

}  // namespace

// Everything is the thread's but Post.
class HttpServer::Core : public std::enable_shared_from_this<Core> {
 public:
  Core(const HttpOptions& options, ListenSocket socket, std::shared_ptr<HttpService> service,
       Metrics& metrics)
      : socket_(std::move(socket)),
        metrics_(metrics),
        book_(options.connections, SocketIdentity, SteadyClock()) {
    if (options.certificates != nullptr) tls_.emplace(*options.certificates);
    room_->options = options;
    room_->service = std::move(service);
    for (const FileDescriptor& fd : socket_.sockets()) doors_.emplace_back(io_, fd.get());
  }
  // The descriptors are the socket's.
  ~Core() {
    for (auto& door : doors_) door.release();
  }

  const std::string& name() const { return room_->options.name; }
  const ListenSocket& socket() const { return socket_; }
  OwnLook& own_look() { return own_look_; }

  // Answers may outlive the listener.
  void SetPost() {
    room_->post = [weak = weak_from_this()](std::function<void()> work) {
      if (const auto core = weak.lock()) core->Post(std::move(work));
    };
  }
  // From any thread. What comes when the thread has ended is left undone.
  void Post(std::function<void()> work) {
    MutexLock lock(&mu_);
    if (open_) asio::post(io_, std::move(work));
  }

  void Run() {
    NameThisThread(name());
    for (auto& door : doors_) Await(door);
    Tick();
    io_.run();
    {
      MutexLock lock(&mu_);
      open_ = false;
    }
    io_.restart();
    io_.poll();  // what was posted meanwhile, which holds connections
  }

  void SetDraining() { room_->draining = true; }

  void End(Duration limit) {
    if (ends_) return;
    ends_ = true;
    room_->draining = true;
    until_ = Now() + limit;
    for (auto& door : doors_) door.cancel();
    rest_.cancel();
    std::vector<std::shared_ptr<Connection>> idle;
    for (const auto& [_, open] : connections_) {
      if (open.connection->idle()) idle.push_back(open.connection);
    }
    for (const auto& connection : idle) connection->Close();
    EndTick();
  }

 private:
  struct Open {
    std::shared_ptr<Connection> connection;
    std::string peer;
    int fd;
    std::list<Connection*>::iterator silent;  // its place in silent_, or the end of it
  };

  void Await(asio::posix::stream_descriptor& door) {
    if (ends_ || resting_) return;
    door.async_wait(asio::posix::stream_descriptor::wait_read, [this, &door](const Error& error) {
      if (error) return;
      for (int i = 0; i < kAtOnce && AcceptOne(door.native_handle()); ++i) continue;
      Await(door);
    });
  }

  // Returns whether it is worth trying again at once.
  bool AcceptOne(int listener_fd) {
    const int fd = accept4(listener_fd, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) {
      Welcome(fd);
      return true;
    }
    const int error = errno;
    if (error == EAGAIN) return false;
    if (error != EMFILE && error != ENFILE && error != ENOBUFS && error != ENOMEM) return true;
    metrics_.AcceptFailed(name(), strerrorname_np(error));
    if (CloseSilent("", "no_descriptors")) return true;
    Rest(error);
    return false;
  }

  // The socket stays readable as long as somebody waits there, so the thread does not look at it for a while.
  void Rest(int error) {
    Log()->warn("listener {}: connections cannot be accepted: {} ({} open)", name(), std::strerror(error),
                book_.open());
    resting_ = true;
    rest_.expires_after(kRest);
    rest_.async_wait([this](const Error& cancelled) {
      resting_ = false;
      if (cancelled) return;
      for (auto& door : doors_) Await(door);
    });
  }

  void Welcome(int fd) {
    const std::string peer = PeerOf(fd);
    const bool own = !peer.empty() && own_look_.IsOwn(fd);
    if (peer.empty() || (!own && !MakeRoom(peer))) {
      close(fd);
      return;
    }
    setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &kUserTimeout, sizeof kUserTimeout);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &kOn, sizeof kOn);
    book_.Add(fd, peer, !own);
    Connection::Socket socket(io_);
    Error failed;
    sockaddr_storage here{};
    socklen_t size = sizeof here;
    getsockname(fd, reinterpret_cast<sockaddr*>(&here), &size);
    socket.assign(asio::generic::stream_protocol(here.ss_family, 0), fd, failed);
    if (!failed) socket.non_blocking(true, failed);
    const auto connection = std::make_shared<Connection>(
        room_, std::move(socket), tls_ && !own ? tls_->Open(fd) : nullptr, PeerName(fd),
        [this](Connection& ended) { Ended(ended); },
        [this](Connection& who, bool heard) { Heard(who, heard); });
    connections_[connection.get()] = {connection, peer, fd, silent_.end()};
    if (!own) Heard(*connection, false);
    connection->Start();
  }

  // One that has asked something comes before one that has not: the connection that has been silent longest
  // is closed for a new one, and it is one of the same peer if that peer has too many.
  bool MakeRoom(const std::string& peer) {
    const ConnectionBook::Verdict verdict = book_.MayCome(peer);
    if (verdict == ConnectionBook::Verdict::kWelcome) return true;
    const bool any = verdict == ConnectionBook::Verdict::kTotalReached;
    if (CloseSilent(any ? "" : peer, "silent")) return MakeRoom(peer);
    metrics_.ConnectionRefused(name(), any ? "total" : "peer");
    return false;
  }
  bool CloseSilent(const std::string& peer, const char* reason) {
    for (Connection* connection : silent_) {
      const Open& open = connections_.at(connection);
      if (!peer.empty() && open.peer != peer) continue;
      metrics_.ConnectionRefused(name(), reason);
      const std::shared_ptr<Connection> kept = open.connection;
      kept->Close();
      return true;
    }
    return false;
  }

  void Heard(Connection& connection, bool heard) {
    Open& open = connections_.at(&connection);
    if (open.silent != silent_.end()) silent_.erase(open.silent);
    open.silent = heard ? silent_.end() : silent_.insert(silent_.end(), &connection);
  }

  void Ended(Connection& connection) {
    const auto found = connections_.find(&connection);
    if (found->second.silent != silent_.end()) silent_.erase(found->second.silent);
    if (connection.not_tls()) metrics_.ConnectionRefused(name(), "not_tls");
    book_.Remove(found->second.fd);
    connections_.erase(found);
    if (ends_) EndTick();
  }

  void Tick() {
    tick_.expires_after(kTick);
    tick_.async_wait([this](const Error& cancelled) {
      if (cancelled) return;
      LookAtAll();
      if (!ends_ || !connections_.empty()) Tick();
    });
  }
  void LookAtAll() {
    const TimePoint now = Now();
    std::vector<std::shared_ptr<Connection>> all;
    all.reserve(connections_.size());
    for (const auto& [_, open] : connections_) all.push_back(open.connection);
    for (const auto& connection : all) {
      if (ends_ && now >= until_) {
        connection->Close();
      } else {
        connection->Look(now);
      }
    }
    metrics_.SetConnections(name(), book_.open());
  }
  void EndTick() {
    if (connections_.empty()) {
      tick_.cancel();
    } else if (Now() >= until_) {
      asio::post(io_, [this] { LookAtAll(); });
    }
  }

  const ListenSocket socket_;
  Metrics& metrics_;
  const std::shared_ptr<ConnectionRoom> room_ = std::make_shared<ConnectionRoom>();
  asio::io_context io_{1};
  Mutex mu_;
  bool open_ ABSL_GUARDED_BY(mu_) = true;

  std::list<asio::posix::stream_descriptor> doors_;
  asio::steady_timer tick_{io_}, rest_{io_};
  bool resting_ = false, ends_ = false;
  TimePoint until_{};
  std::optional<TlsDoor> tls_;  // none: plain text
  OwnLook own_look_;
  ConnectionBook book_;
  std::unordered_map<Connection*, Open> connections_;
  std::list<Connection*> silent_;  // connections that have asked nothing, the longest first
};

absl::StatusOr<ListenSocket> HttpServer::Bind(const std::string& text, bool public_allowed) {
  ASSIGN_OR_RETURN(const ListenAddress address, ParseListenAddress(text));
  RETURN_IF_ERROR(CheckExposure(address, public_allowed));
  return ListenSocket::Open(address);
}

HttpServer::HttpServer(const HttpOptions& options, ListenSocket socket, std::shared_ptr<HttpService> service,
                       Metrics& metrics)
    : core_(std::make_shared<Core>(options, std::move(socket), std::move(service), metrics)) {
  core_->SetPost();
  thread_ = std::thread([core = core_] { core->Run(); });
}

HttpServer::~HttpServer() { Shutdown(Duration(0)); }

const std::string& HttpServer::address() const { return core_->socket().address(); }

ListenerProbe::Target HttpServer::target() {
  return {.name = core_->name(),
          .socket = &core_->socket(),
          .own_look = &core_->own_look(),
          .answers = AnswersGet};
}

void HttpServer::SetDraining() {
  core_->Post([core = core_] { core->SetDraining(); });
}

void HttpServer::Shutdown(Duration limit) {
  if (!thread_.joinable()) return;
  core_->Post([core = core_, limit] { core->End(limit); });
  thread_.join();
}

}  // namespace hydrad
