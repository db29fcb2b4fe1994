#include "server/rpc/server.h"

#include <grpc/grpc.h>
#include <grpc/support/log.h>
#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/impl/server_builder_option.h>
#include <grpcpp/impl/server_builder_plugin.h>
#include <grpcpp/impl/service_type.h>
#include <grpcpp/resource_quota.h>
#include <malloc.h>

#include <chrono>
#include <utility>
#include <vector>

#include "server/base/heap_trim.h"
#include "server/base/listen_address.h"
#include "server/base/log.h"
#include "server/base/status.h"
#include "server/base/status_macros.h"
#include "server/rpc/acceptor.h"
#include "server/rpc/health_question.h"
#include "server/rpc/inference_service.h"
#include "server/rpc/protobuf_log.h"
#include "server/rpc/tls_credentials.h"

namespace hydrad {
namespace {

// More than the header of a call that a proxy lets through (Envoy: 60 KiB, nghttpx: 64 KiB, each with up to
// 100 entries of 32 more by HTTP/2's way of counting): gRPC ends the whole connection of a call that exceeds
// it, and with it the calls of others behind the same proxy.
constexpr int kMaxHeaderBytes = 80 << 10;

// One listener with its service.
struct Listener {
  explicit Listener(ListenSocket bound) : socket(std::move(bound)) {}

  void SetServing(const char* name, bool serving) const {
    server->GetHealthCheckService()->SetServingStatus(name, serving);
  }

  ListenSocket socket;
  std::shared_ptr<grpc::ServerCredentials> credentials;
  std::unique_ptr<grpc::Service> service;
  std::unique_ptr<grpc::Server> server;
  std::unique_ptr<grpc::experimental::ExternalConnectionAcceptor> door;
  std::unique_ptr<grpc::experimental::ExternalConnectionAcceptor> own_door;  // in plain text, for the probe
  std::unique_ptr<Acceptor> acceptor;
};

// gRPC tells clients the services' descriptions as soon as its reflection library is linked; this takes that
// back for one server.
class NoReflection final : public grpc::ServerBuilderOption {
 public:
  void UpdateArguments(grpc::ChannelArguments*) override {}
  void UpdatePlugins(std::vector<std::unique_ptr<grpc::ServerBuilderPlugin>>* plugins) override {
    std::erase_if(*plugins, [](const auto& plugin) { return plugin->name() == "proto_server_reflection"; });
  }
};

// gRPC's own records tell of single connections, so that strangers can make as many as they like. Only who
// asks for debug records sees them.
void LogForGrpc(gpr_log_func_args* args) { Log()->debug("grpc: {}", args->message); }

// Bounds on what one connection can cost, and pings that find the dead ones.
void SetLimits(grpc::ServerBuilder& builder, const ServerOptions& options) {
  grpc::ResourceQuota quota("hydrad");
  quota.Resize(options.memory_quota);
  builder.SetResourceQuota(quota);
  builder.SetMaxReceiveMessageSize(options.max_request_bytes);
  // gRPC looks at a message's size after it has inflated it: a few hundred kilobytes of a stranger's would be
  // held as hundreds of megabytes.
  builder.SetCompressionAlgorithmSupportStatus(GRPC_COMPRESS_DEFLATE, false);
  builder.SetCompressionAlgorithmSupportStatus(GRPC_COMPRESS_GZIP, false);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, options.max_streams_per_connection);
  builder.AddChannelArgument(GRPC_ARG_MAX_METADATA_SIZE, kMaxHeaderBytes);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, 60'000);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 20'000);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 10'000);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_PING_STRIKES, 3);
  builder.AddChannelArgument(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS,
                             static_cast<int>(options.silence / std::chrono::milliseconds(1)));
}

absl::StatusOr<ListenSocket> Bind(const std::string& text, const ServerOptions& options) {
  ASSIGN_OR_RETURN(const ListenAddress address, ParseListenAddress(text));
  RETURN_IF_ERROR(CheckExposure(address, options.certificates != nullptr || options.allow_plaintext_public));
  return ListenSocket::Open(address);
}

using Listeners = std::vector<std::unique_ptr<Listener>>;

// Begins to accept connections.
absl::StatusOr<std::unique_ptr<Listener>> Serve(ListenSocket socket, const AcceptorOptions& accepting,
                                                std::unique_ptr<grpc::Service> service,
                                                const ServerOptions& options, Metrics& metrics) {
  auto listener = std::make_unique<Listener>(std::move(socket));
  listener->service = std::move(service);
  grpc::ServerBuilder builder;
  SetLimits(builder, options);
  if (!options.reflection) builder.SetOption(std::make_unique<NoReflection>());
  const auto add_door = [&](const std::shared_ptr<grpc::ServerCredentials>& credentials) {
    using Experimental = grpc::ServerBuilder::experimental_type;
    return builder.experimental().AddExternalConnectionAcceptor(Experimental::ExternalConnectionType::FROM_FD,
                                                                credentials);
  };
  listener->credentials = options.certificates == nullptr ? grpc::InsecureServerCredentials()
                                                          : TlsCredentials(*options.certificates);
  listener->door = add_door(listener->credentials);
  listener->own_door = add_door(grpc::InsecureServerCredentials());
  builder.RegisterService(listener->service.get());
  listener->server = builder.BuildAndStart();
  if (listener->server == nullptr) {
    return Unavailable("listen address '{}' cannot be served", listener->socket.address());
  }
  listener->acceptor = std::make_unique<Acceptor>(
      accepting, listener->socket, metrics,
      [door = listener->door.get(), own_door = listener->own_door.get()](int from, int fd, bool own) {
        grpc::experimental::ExternalConnectionAcceptor::NewConnectionParameters connection;
        connection.listener_fd = from;
        connection.fd = fd;
        (own ? own_door : door)->HandleNewConnection(&connection);
      });
  return listener;
}

void Publish(const Health& health, const Listeners& listeners) {
  for (const auto& listener : listeners) {
    listener->SetServing("", health.ready);
    listener->SetServing("readiness", health.ready);
    listener->SetServing("liveness", health.live);
    listener->SetServing("hydrad.v1.Inference", health.ready);
    listener->SetServing("hydrad.v1.Admin", health.live);
  }
}

// The books of the two services, which are looked at now and then.
class Books {
 public:
  Books(const ServerOptions& options, const Rooms& rooms)
      : rooms_(rooms),
        unread(std::make_shared<UnreadOutput>(options.unread, rooms.clock)),
        admin_unread(std::make_shared<UnreadOutput>(
            UnreadBounds{.stream_bytes = kWatch, .tenant_bytes = 2 * kWatch, .stall = options.unread.stall},
            rooms.clock)) {}

  void Look() {
    size_t bytes = 0;
    int64_t ended = 0;
    for (UnreadOutput* books : {unread.get(), admin_unread.get()}) {
      books->Sweep();
      bytes += books->bytes();
      ended += books->ended();
    }
    rooms_.metrics.SetUnreadOutput(bytes);
    rooms_.metrics.ReadersEnded(ended - std::exchange(ended_, ended));
    if (trim_.Due(bytes, rooms_.clock.Now())) malloc_trim(0);
  }

 private:
  // Room for the snapshot of the largest registry, and then some.
  static constexpr size_t kWatch = 64 << 20;

  const Rooms& rooms_;
  int64_t ended_ = 0;
  HeapTrim trim_;

 public:
  const std::shared_ptr<UnreadOutput> unread, admin_unread;
};

}  // namespace

struct Server::Impl {
  Impl(const ServerOptions& options, Intake& intake, const Admission& admins)
      : books(options, intake.rooms()), adapters(intake, admins), texts(options.texts) {}
  // No call is left when the pool goes, and no job when the services go.
  ~Impl() {
    monitor.reset();
    probe.reset();
    for (const auto& listener : listeners) {
      listener->acceptor->Stop();
      listener->server->Shutdown(std::chrono::system_clock::now());
    }
  }

  Books books;
  const AdapterAdmin adapters;
  Listeners listeners;  // inference, then perhaps admin
  TextPool texts;
  std::unique_ptr<ListenerProbe> probe;
  std::unique_ptr<HealthMonitor> monitor;
};

absl::StatusOr<ServerSockets> Server::Bind(const ServerOptions& options) {
  ASSIGN_OR_RETURN(ListenSocket inference, hydrad::Bind(options.listen, options));
  ServerSockets sockets{.inference = std::move(inference), .admin = std::nullopt};
  if (options.admin_listen.empty()) return sockets;
  ASSIGN_OR_RETURN(ListenSocket admin, hydrad::Bind(options.admin_listen, options));
  sockets.admin.emplace(std::move(admin));
  return sockets;
}

absl::StatusOr<std::unique_ptr<Server>> Server::Start(const ServerOptions& options, Intake& intake,
                                                      const Admission& admins, const ServerFacts& facts,
                                                      std::function<void()> tick,
                                                      std::optional<ServerSockets> sockets) {
  if (!sockets) {
    ASSIGN_OR_RETURN(ServerSockets bound, Bind(options));
    sockets.emplace(std::move(bound));
  }
  // When its last user goes, the library waits for what its clients do in the background, up to ten seconds;
  // the probe is one of them. So it stays until the process ends.
  static const bool kept = (grpc_init(), true);
  (void)kept;
  gpr_set_log_function(LogForGrpc);
  LogForProtobuf();
  grpc::EnableDefaultHealthCheckService(true);
  grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  auto impl = std::make_unique<Impl>(options, intake, admins);
  Metrics& metrics = intake.rooms().metrics;
  const auto serve = [&](ListenSocket socket, const AcceptorOptions& accepting,
                         std::unique_ptr<grpc::Service> service) -> absl::Status {
    ASSIGN_OR_RETURN(auto listener,
                     Serve(std::move(socket), accepting, std::move(service), options, metrics));
    impl->listeners.push_back(std::move(listener));
    return absl::OkStatus();
  };
  const bool tls = options.certificates != nullptr;
  RETURN_IF_ERROR(serve(std::move(sockets->inference),
                        {"inference", options.connections, options.silence, tls},
                        MakeInferenceService(intake, facts.base_model, *impl->books.unread, impl->texts)));
  if (sockets->admin) {
    RETURN_IF_ERROR(serve(*std::move(sockets->admin),
                          {"admin", options.admin_connections, options.silence, tls},
                          MakeAdminService(intake, impl->adapters, facts, *impl->books.admin_unread)));
  }
  impl->probe = std::make_unique<ListenerProbe>(
      options.probe,
      [&metrics](const std::string& name, bool answers) { metrics.SetListenerAnswers(name, answers); });
  for (const auto& listener : impl->listeners) {
    impl->probe->Add({.name = listener->acceptor->name(),
                      .socket = &listener->socket,
                      .own_look = &listener->acceptor->own_look(),
                      .answers = AnswersHealth});
  }
  impl->monitor = std::make_unique<HealthMonitor>(
      options.health, intake.rooms().scheduler.status,
      [probe = impl->probe.get()] { return probe->all_answer(); },
      [listeners = &impl->listeners](const Health& health) { Publish(health, *listeners); },
      [books = &impl->books, tick = std::move(tick)] {
        books->Look();
        tick();
      });
  return std::unique_ptr<Server>(new Server(std::move(impl)));
}

Server::Server(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Server::~Server() { Shutdown(Duration(0)); }

const std::string& Server::address() const { return impl_->listeners[0]->socket.address(); }
const std::string& Server::admin_address() const {
  static const std::string none;
  return impl_->listeners.size() > 1 ? impl_->listeners[1]->socket.address() : none;
}

Health Server::health() const { return impl_->monitor == nullptr ? Health() : impl_->monitor->health(); }
UnreadOutput& Server::unread() { return *impl_->books.unread; }
UnreadOutput& Server::admin_unread() { return *impl_->books.admin_unread; }
const AdapterAdmin& Server::adapters() const { return impl_->adapters; }
TextPool& Server::texts() { return impl_->texts; }

void Server::LookAt(ListenerProbe::Target target) { impl_->probe->Add(std::move(target)); }
void Server::StopLooking() { impl_->probe->Stop(); }

void Server::SetDraining() { impl_->monitor->SetDraining(); }

void Server::Shutdown(Duration limit) {
  impl_->monitor.reset();
  StopLooking();
  const auto deadline = std::chrono::system_clock::now() +
                        std::chrono::duration_cast<std::chrono::system_clock::duration>(limit);
  for (const auto& listener : impl_->listeners) {
    listener->acceptor->Stop();  // what it gave to a server that has ended would stay open
    listener->server->Shutdown(deadline);
    listener->server->Wait();
  }
}

}  // namespace hydrad
