#include "server/rpc/server.h"

#include <grpc/support/log.h>
#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/impl/server_builder_option.h>
#include <grpcpp/impl/server_builder_plugin.h>
#include <grpcpp/impl/service_type.h>
#include <grpcpp/resource_quota.h>

#include <chrono>
#include <utility>
#include <vector>

#include "server/base/log.h"
#include "server/rpc/inference_service.h"
#include "server/rpc/listen_address.h"

namespace hydrad {
namespace {

// One listener with its service.
struct Listener {
  std::unique_ptr<grpc::Service> service;
  std::unique_ptr<grpc::Server> server;
  std::string address;

  void SetServing(const char* name, bool serving) const {
    server->GetHealthCheckService()->SetServingStatus(name, serving);
  }
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

// gRPC's own records tell of single connections, so that strangers can make as many as they like: they are
// only for those who look for them.
void LogForGrpc(gpr_log_func_args* args) { Log()->debug("grpc: {}", args->message); }

// Bounds on what one connection can cost, and pings that find the dead ones.
void SetLimits(grpc::ServerBuilder& builder, const ServerOptions& options) {
  grpc::ResourceQuota quota("hydrad");
  quota.Resize(options.memory_quota);
  builder.SetResourceQuota(quota);
  builder.SetMaxReceiveMessageSize(options.max_request_bytes);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, options.max_streams_per_connection);
  builder.AddChannelArgument(GRPC_ARG_MAX_METADATA_SIZE, 16 << 10);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, 60'000);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 20'000);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 10'000);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_PING_STRIKES, 3);
  // Two daemons on one port would each get some of the connections.
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
}

absl::StatusOr<Listener> Listen(const std::string& text, std::unique_ptr<grpc::Service> service,
                                const ServerOptions& options) {
  ASSIGN_OR_RETURN(const ListenAddress address, ParseListenAddress(text));
  RETURN_IF_ERROR(CheckExposure(address, options.allow_plaintext_public));
  grpc::ServerBuilder builder;
  SetLimits(builder, options);
  if (!options.reflection) builder.SetOption(std::make_unique<NoReflection>());
  int port = 0;
  builder.AddListeningPort(text, grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(service.get());
  Listener listener{.service = std::move(service), .server = builder.BuildAndStart(), .address = ""};
  if (listener.server == nullptr || port <= 0)
    return Unavailable("listen address '{}' cannot be bound", text);
  listener.address = BoundText(address, port);
  return listener;
}

void Publish(const Health& health, const std::vector<Listener>& listeners) {
  for (const Listener& listener : listeners) {
    listener.SetServing("", health.ready);
    listener.SetServing("readiness", health.ready);
    listener.SetServing("liveness", health.live);
    listener.SetServing("hydrad.v1.Inference", health.ready);
    listener.SetServing("hydrad.v1.Admin", health.live);
  }
}

}  // namespace

struct Server::Impl {
  std::vector<Listener> listeners;  // inference, then perhaps admin
  std::unique_ptr<HealthMonitor> monitor;
};

absl::StatusOr<std::unique_ptr<Server>> Server::Start(const ServerOptions& options, Intake& intake,
                                                      const Admission& admins, const ServerFacts& facts,
                                                      std::function<void()> tick) {
  gpr_set_log_function(LogForGrpc);
  grpc::EnableDefaultHealthCheckService(true);
  grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  auto impl = std::make_unique<Impl>();
  ASSIGN_OR_RETURN(
      Listener inference,
      Listen(options.listen, MakeInferenceService(intake, facts.base_model, options.stream_bounds), options));
  impl->listeners.push_back(std::move(inference));
  if (!options.admin_listen.empty()) {
    ASSIGN_OR_RETURN(Listener admin,
                     Listen(options.admin_listen, MakeAdminService(intake, admins, facts), options));
    impl->listeners.push_back(std::move(admin));
  }
  impl->monitor = std::make_unique<HealthMonitor>(
      options.health, intake.rooms().scheduler.status,
      [listeners = &impl->listeners](const Health& health) { Publish(health, *listeners); }, std::move(tick));
  return std::unique_ptr<Server>(new Server(std::move(impl)));
}

Server::Server(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Server::~Server() { Shutdown(Duration(0)); }

const std::string& Server::address() const { return impl_->listeners[0].address; }
const std::string& Server::admin_address() const {
  static const std::string none;
  return impl_->listeners.size() > 1 ? impl_->listeners[1].address : none;
}

void Server::SetDraining() { impl_->monitor->SetDraining(); }

void Server::Shutdown(Duration limit) {
  impl_->monitor.reset();
  const auto deadline = std::chrono::system_clock::now() +
                        std::chrono::duration_cast<std::chrono::system_clock::duration>(limit);
  for (Listener& listener : impl_->listeners) {
    listener.server->Shutdown(deadline);
    listener.server->Wait();
  }
}

}  // namespace hydrad
