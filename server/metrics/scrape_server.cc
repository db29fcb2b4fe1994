#include "server/metrics/scrape_server.h"

#include <fmt/core.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <string_view>
#include <utility>

#include "server/base/log.h"
#include "server/base/thread_name.h"

namespace hydrad {
namespace {

constexpr Duration kRest = std::chrono::milliseconds(100);

TimePoint Now() { return SteadyClock().Now(); }

void Watch(int epoll, int operation, int fd, uint32_t events) {
  epoll_event event{};
  event.events = events;
  event.data.fd = fd;
  epoll_ctl(epoll, operation, fd, &event);
}

std::string Response(std::string_view status, std::string_view body, bool head_only) {
  return fmt::format(
      "HTTP/1.1 {}\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\nContent-Length: {}\r\n"
      "Connection: close\r\n\r\n{}",
      status, body.size(), head_only ? std::string_view() : body);
}

}  // namespace

ScrapeServer::ScrapeServer(ListenSocket socket, std::string path, std::function<std::string()> text)
    : socket_(std::move(socket)),
      path_(std::move(path)),
      text_(std::move(text)),
      epoll_(epoll_create1(EPOLL_CLOEXEC)),
      stop_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  Watch(epoll_.get(), EPOLL_CTL_ADD, stop_.get(), EPOLLIN);
  for (const FileDescriptor& fd : socket_.sockets()) Watch(epoll_.get(), EPOLL_CTL_ADD, fd.get(), EPOLLIN);
  thread_ = std::thread([this] { Run(); });
}

ScrapeServer::~ScrapeServer() {
  eventfd_write(stop_.get(), 1);
  thread_.join();
}

void ScrapeServer::Run() {
  NameThisThread("metrics");
  std::array<epoll_event, 64> events;
  for (;;) {
    const int n = epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()), WaitTime());
    for (int i = 0; i < n; ++i) {
      const int fd = events[i].data.fd;
      if (fd == stop_.get()) return;
      const auto found = by_fd_.find(fd);
      if (found == by_fd_.end()) {
        Accept(fd);
        continue;
      }
      const Clients::iterator client = found->second;
      if (client->answer.empty() ? Read(*client) : Write(*client)) continue;
      by_fd_.erase(found);
      clients_.erase(client);
    }
    Tick();
  }
}

int ScrapeServer::WaitTime() const {
  if (clients_.empty() && !resting_) return -1;
  TimePoint next = clients_.empty() ? rest_until_ : clients_.front().until;
  if (resting_) next = std::min(next, rest_until_);
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(next - Now());
  return static_cast<int>(std::max<int64_t>(left.count(), 0));
}

void ScrapeServer::Accept(int listener_fd) {
  if (std::ranges::none_of(socket_.sockets(), [&](const auto& own) { return own.get() == listener_fd; })) {
    return;  // a client that has gone since
  }
  FileDescriptor fd(accept4(listener_fd, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
  const bool full =
      fd.get() < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM);
  if (full) Rest();
  if (!clients_.empty() && (full || clients_.size() >= kMaxConnections)) {
    by_fd_.erase(clients_.front().fd.get());
    clients_.pop_front();
  }
  if (fd.get() < 0) return;
  Watch(epoll_.get(), EPOLL_CTL_ADD, fd.get(), EPOLLIN);
  const int number = fd.get();
  clients_.push_back({.fd = std::move(fd), .until = Now() + kPatience});
  by_fd_[number] = std::prev(clients_.end());
}

// The socket stays readable as long as somebody waits there, so the thread does not look at it for a while.
void ScrapeServer::Rest() {
  if (!resting_) Log()->warn("metrics: connections cannot be accepted: {}", std::strerror(errno));
  resting_ = true;
  rest_until_ = Now() + kRest;
  for (const FileDescriptor& fd : socket_.sockets()) Watch(epoll_.get(), EPOLL_CTL_MOD, fd.get(), 0);
}

void ScrapeServer::Tick() {
  const TimePoint now = Now();
  while (!clients_.empty() && clients_.front().until <= now) {
    by_fd_.erase(clients_.front().fd.get());
    clients_.pop_front();
  }
  if (!resting_ || rest_until_ > now) return;
  resting_ = false;
  for (const FileDescriptor& fd : socket_.sockets()) Watch(epoll_.get(), EPOLL_CTL_MOD, fd.get(), EPOLLIN);
}

bool ScrapeServer::Read(Client& client) {
  std::array<char, 2048> buffer;
  const ssize_t n = recv(client.fd.get(), buffer.data(), buffer.size(), 0);
  if (n < 0) return errno == EAGAIN || errno == EINTR;
  if (n == 0) return false;
  client.request.append(buffer.data(), static_cast<size_t>(n));
  if (client.request.find("\r\n\r\n") == std::string::npos) return client.request.size() < kMaxRequestBytes;
  client.answer = Answer(client.request);
  Watch(epoll_.get(), EPOLL_CTL_MOD, client.fd.get(), EPOLLOUT);
  return Write(client);
}

bool ScrapeServer::Write(Client& client) {
  const size_t left = client.answer.size() - client.sent;
  const ssize_t n = send(client.fd.get(), client.answer.data() + client.sent, left, MSG_NOSIGNAL);
  if (n < 0) return errno == EAGAIN || errno == EINTR;
  client.sent += static_cast<size_t>(n);
  return client.sent < client.answer.size();
}

std::string ScrapeServer::Answer(const std::string& request) const {
  const std::string_view line(request.data(), request.find('\r'));
  const size_t method_end = line.find(' ');
  const size_t target_end = method_end == line.npos ? line.npos : line.find(' ', method_end + 1);
  if (target_end == line.npos || !line.substr(target_end + 1).starts_with("HTTP/1.")) {
    return Response("400 Bad Request", "", false);
  }
  const std::string_view method = line.substr(0, method_end);
  if (method != "GET" && method != "HEAD") return Response("405 Method Not Allowed", "", false);
  std::string_view target = line.substr(method_end + 1, target_end - method_end - 1);
  target = target.substr(0, target.find('?'));
  if (target != path_) return Response("404 Not Found", "try /metrics\n", method == "HEAD");
  return Response("200 OK", text_(), method == "HEAD");
}

}  // namespace hydrad
