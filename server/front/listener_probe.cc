#include "server/rpc/listener_probe.h"

#include <grpcpp/create_channel_posix.h>
#include <grpcpp/grpcpp.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "grpc/health/v1/health.grpc.pb.h"
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
void BindAndTell(int fd, Address address, socklen_t size,
                 const std::function<void(const std::string&)>& expect) {
  if (address.any.sa_family == AF_UNIX) return;
  in_port_t& port = address.any.sa_family == AF_INET ? address.v4.sin_port : address.v6.sin6_port;
  port = 0;
  if (bind(fd, &address.any, size) != 0 || getsockname(fd, &address.any, &size) != 0) return;
  expect(PlaceOf(address.storage));
}

// Returns a connection to the listener, or none if it is not made within the limit.
FileDescriptor Connect(const ListenerProbe::Target& target, Duration limit) {
  socklen_t size = 0;
  const Address address = Reach(target.socket->sockets().front().get(), &size);
  FileDescriptor fd(socket(address.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (fd.get() < 0) return {};
  BindAndTell(fd.get(), address, size, target.expect);
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

// A listener that tells any health answers, whatever it tells.
bool Answers(const ListenerProbe::Target& target, Duration limit) {
  FileDescriptor fd = Connect(target, limit);
  if (fd.get() < 0) return false;
  const auto channel = grpc::CreateInsecureChannelFromFd("hydrad-probe", fd.Release());
  const auto stub = grpc::health::v1::Health::NewStub(channel);
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() +
                       std::chrono::duration_cast<std::chrono::system_clock::duration>(limit));
  grpc::health::v1::HealthCheckResponse response;
  return stub->Check(&context, {}, &response).ok();
}

}  // namespace

ListenerProbe::ListenerProbe(ProbeOptions options, std::vector<Target> targets,
                             std::function<void(const std::string&, bool)> told)
    : options_(options),
      targets_(std::move(targets)),
      told_(std::move(told)),
      failed_(targets_.size()),
      thread_([this] { Run(); }) {}

ListenerProbe::~ListenerProbe() {
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
    for (size_t i = 0; i < targets_.size(); ++i) Look(i);
    MutexLock lock(&mu_);
    mu_.AwaitFor(options_.interval, [&]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return stopping_; });
    if (stopping_) return;
  }
}

void ListenerProbe::Look(size_t target) {
  const std::string& name = targets_[target].name;
  const bool answered = Answers(targets_[target], options_.limit);
  targets_[target].expect("");
  const bool counted = failed_[target] >= options_.failures;
  failed_[target] = answered ? 0 : failed_[target] + 1;
  const bool counts = failed_[target] >= options_.failures;
  if (counts && !counted)
    Log()->error("listener {} does not answer: {} looks in a row failed", name, failed_[target]);
  if (counted && !counts) Log()->info("listener {} answers again", name);
  {
    MutexLock lock(&mu_);
    silent_ += static_cast<int>(counts) - static_cast<int>(counted);
  }
  told_(name, answered);
}

}  // namespace hydrad
