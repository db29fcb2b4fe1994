#include "client/hydrad_client.h"

#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <set>
#include <type_traits>
#include <utility>

#include "client/error_text.h"
#include "grpc/health/v1/health.grpc.pb.h"
#include "hydrad/v1/admin.grpc.pb.h"
#include "hydrad/v1/inference.grpc.pb.h"
#include "server/base/mutex.h"
#include "server/base/status.h"
#include "server/base/status_macros.h"

namespace hydrad {
namespace {

constexpr int kMaxMessageBytes = 64 << 20;

std::shared_ptr<grpc::ChannelCredentials> CredentialsOf(const std::optional<TlsOptions>& tls) {
  if (!tls) return grpc::InsecureChannelCredentials();
  grpc::SslCredentialsOptions options;
  options.pem_root_certs = tls->ca;
  options.pem_cert_chain = tls->certificate;
  options.pem_private_key = tls->key;
  return grpc::SslCredentials(options);
}

std::shared_ptr<grpc::Channel> MakeChannel(const std::string& address, const std::optional<TlsOptions>& tls) {
  grpc::ChannelArguments args;
  args.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  args.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);  // a daemon is near; http_proxy is about the far world
  args.SetMaxReceiveMessageSize(kMaxMessageBytes);
  return grpc::CreateCustomChannel(address, CredentialsOf(tls), args);
}

// The two code spaces are the same numbers by definition.
absl::Status FromGrpc(const grpc::Status& status) {
  if (status.ok()) return absl::OkStatus();
  return StatusWithDetails(static_cast<absl::StatusCode>(status.error_code()), status.error_message(),
                           status.error_details());
}

void Prepare(grpc::ClientContext& context, const CallOptions& options) {
  if (options.timeout > std::chrono::nanoseconds::zero()) {
    context.set_deadline(std::chrono::system_clock::now() +
                         std::chrono::duration_cast<std::chrono::system_clock::duration>(options.timeout));
  }
  if (!options.key.empty()) context.AddMetadata("authorization", "Bearer " + options.key);
}

// Tells an edge in front of several daemons (deploy/edge) which adapter the request is for, so that it goes
// where that is warm. A composition goes where its first one is; a request that runs no model goes anywhere.
template <class Request>
void NameAdapter(grpc::ClientContext& context, const Request& request) {
  if constexpr (std::is_same_v<Request, v1::GenerateRequest> || std::is_same_v<Request, v1::ChatRequest>) {
    const std::string& name = request.adapters().empty() ? request.adapter() : request.adapters(0).name();
    const bool printable = std::ranges::all_of(name, [](char c) { return c > ' ' && c <= '~'; });
    if (!name.empty() && printable) context.AddMetadata("x-hydrad-adapter", name);
  }
}

// One unary call of `method` on `stub`.
template <class Response, class Stub, class Request>
absl::StatusOr<Response> Unary(Stub& stub,
                               grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*),
                               const Request& request, const CallOptions& options) {
  grpc::ClientContext context;
  Prepare(context, options);
  NameAdapter(context, request);
  Response response;
  if (absl::Status status = FromGrpc((stub.*method)(&context, request, &response)); !status.ok())
    return status;
  return response;
}

// Reads a stream to its end, or cancels it when `on_message` answers false.
template <class Message, class OnMessage>
absl::Status ReadAll(grpc::ClientContext& context, grpc::ClientReader<Message>& reader,
                     const OnMessage& on_message) {
  Message message;
  bool wanted = true;
  while (reader.Read(&message)) {
    if (wanted && !on_message(message)) {
      wanted = false;
      context.TryCancel();
    }
  }
  const grpc::Status status = reader.Finish();
  if (!wanted) return Cancelled("cancelled by the caller");
  return FromGrpc(status);
}

// The contexts of the streams that a client has on their way. It is their only owner: a context keeps its
// channel, and the last to let go of a channel must not be a thread of gRPC's (gRPC 1.51: it would join
// itself, then use the completion queue that it has just freed). Thread-safe.
class RunningCalls {
 public:
  std::shared_ptr<grpc::ClientContext> Begin() {
    MutexLock lock(&mu_);
    return *contexts_.insert(std::make_shared<grpc::ClientContext>()).first;
  }
  void End(std::shared_ptr<grpc::ClientContext> context) {
    MutexLock lock(&mu_);
    contexts_.erase(context);
    context.reset();
  }
  void CancelAndAwait() {
    for (const auto& context : Contexts()) context->TryCancel();  // unlocked: it may call back
    MutexLock lock(&mu_);
    mu_.Await([this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) { return contexts_.empty(); });
  }

 private:
  using ContextSet = std::set<std::shared_ptr<grpc::ClientContext>>;
  ContextSet Contexts() {
    MutexLock lock(&mu_);
    return contexts_;
  }

  Mutex mu_;
  ContextSet contexts_ ABSL_GUARDED_BY(mu_);
};

// One streamed Generate or Chat, by its request. Owns itself; gone after OnDone, as gRPC's callback API wants
// it.
template <class Request>
class GenerateReactor final : public grpc::ClientReadReactor<v1::GenerateResponse> {
 public:
  GenerateReactor(const Request& request, Client::Events events, RunningCalls& running)
      : request_(request), events_(std::move(events)), running_(running), context_(running.Begin()) {}

  void Start(v1::Inference::Stub& stub, const CallOptions& options) {
    Prepare(*context_, options);
    NameAdapter(*context_, request_);
    if constexpr (std::is_same_v<Request, v1::ChatRequest>) {
      stub.async()->Chat(context_.get(), &request_, this);
    } else {
      stub.async()->Generate(context_.get(), &request_, this);
    }
    StartRead(&response_);
    StartCall();
  }
  const std::shared_ptr<grpc::ClientContext>& context() const { return context_; }

 private:
  void OnReadDone(bool ok) override {
    if (!ok) return;
    if (events_.on_message) events_.on_message(response_);
    StartRead(&response_);
  }
  void OnDone(const grpc::Status& status) override {
    if (events_.on_done) events_.on_done(FromGrpc(status));
    RunningCalls& running = running_;
    auto context = std::move(context_);
    delete this;
    running.End(std::move(context));  // the last act: the client may go
  }

  const Request request_;
  const Client::Events events_;
  RunningCalls& running_;
  std::shared_ptr<grpc::ClientContext> context_;
  v1::GenerateResponse response_;
};

}  // namespace

struct Connection::Impl {
  std::shared_ptr<grpc::Channel> channel;
};

Connection::Connection(const std::string& address, const std::optional<TlsOptions>& tls)
    : impl_(std::make_shared<Impl>(Impl{MakeChannel(address, tls)})) {}

absl::StatusOr<Health> Connection::Check(const std::string& service, const CallOptions& options) const {
  using grpc::health::v1::HealthCheckResponse;
  const auto stub = grpc::health::v1::Health::NewStub(impl_->channel);
  grpc::health::v1::HealthCheckRequest request;
  request.set_service(service);
  ASSIGN_OR_RETURN(const auto response, Unary<HealthCheckResponse>(
                                            *stub, &grpc::health::v1::Health::Stub::Check, request, options));
  if (response.status() == HealthCheckResponse::SERVING) return Health::kServing;
  return response.status() == HealthCheckResponse::NOT_SERVING ? Health::kNotServing : Health::kUnknown;
}

void GenerateCall::Cancel() {
  if (const auto context = context_.lock()) static_cast<grpc::ClientContext*>(context.get())->TryCancel();
}

struct Client::Stub {
  explicit Stub(const Connection& connection) : rpc(connection.impl().channel) {}
  ~Stub() { running.CancelAndAwait(); }
  v1::Inference::Stub rpc;  // points into itself: not to be moved
  RunningCalls running;
};

Client::Client(const Connection& connection) : stub_(std::make_unique<Stub>(connection)) {}
Client::~Client() = default;

absl::Status Client::Generate(const v1::GenerateRequest& request, const CallOptions& options,
                              const OnMessage& on_message) const {
  grpc::ClientContext context;
  Prepare(context, options);
  NameAdapter(context, request);
  const auto reader = stub_->rpc.Generate(&context, request);
  return ReadAll(context, *reader, on_message);
}

absl::Status Client::Chat(const v1::ChatRequest& request, const CallOptions& options,
                          const OnMessage& on_message) const {
  grpc::ClientContext context;
  Prepare(context, options);
  NameAdapter(context, request);
  const auto reader = stub_->rpc.Chat(&context, request);
  return ReadAll(context, *reader, on_message);
}

template <class Request>
GenerateCall Client::Start(const Request& request, const CallOptions& options, Events events) const {
  auto reactor = std::make_unique<GenerateReactor<Request>>(request, std::move(events), stub_->running);
  GenerateCall call;
  call.context_ = reactor->context();
  reactor.release()->Start(stub_->rpc, options);
  return call;
}

GenerateCall Client::StartGenerate(const v1::GenerateRequest& request, const CallOptions& options,
                                   Events events) const {
  return Start(request, options, std::move(events));
}

GenerateCall Client::StartChat(const v1::ChatRequest& request, const CallOptions& options,
                               Events events) const {
  return Start(request, options, std::move(events));
}

absl::StatusOr<v1::GenerateResult> Client::GenerateUnary(const v1::GenerateRequest& request,
                                                         const CallOptions& options) const {
  return Unary<v1::GenerateResult>(stub_->rpc, &v1::Inference::Stub::GenerateUnary, request, options);
}

absl::StatusOr<v1::GenerateResult> Client::ChatUnary(const v1::ChatRequest& request,
                                                     const CallOptions& options) const {
  return Unary<v1::GenerateResult>(stub_->rpc, &v1::Inference::Stub::ChatUnary, request, options);
}

absl::StatusOr<v1::TokenizeResponse> Client::Tokenize(const v1::TokenizeRequest& request,
                                                      const CallOptions& options) const {
  return Unary<v1::TokenizeResponse>(stub_->rpc, &v1::Inference::Stub::Tokenize, request, options);
}

absl::StatusOr<v1::DetokenizeResponse> Client::Detokenize(const v1::DetokenizeRequest& request,
                                                          const CallOptions& options) const {
  return Unary<v1::DetokenizeResponse>(stub_->rpc, &v1::Inference::Stub::Detokenize, request, options);
}

absl::StatusOr<v1::ListModelsResponse> Client::ListModels(const CallOptions& options) const {
  return Unary<v1::ListModelsResponse>(stub_->rpc, &v1::Inference::Stub::ListModels, v1::ListModelsRequest(),
                                       options);
}

struct AdminClient::Stub {
  explicit Stub(const Connection& connection) : rpc(connection.impl().channel) {}
  v1::Admin::Stub rpc;  // points into itself: not to be moved
};

AdminClient::AdminClient(const Connection& connection) : stub_(std::make_unique<Stub>(connection)) {}
AdminClient::~AdminClient() = default;

absl::StatusOr<v1::Adapter> AdminClient::LoadAdapter(const v1::LoadAdapterRequest& request,
                                                     const CallOptions& options) const {
  return Unary<v1::Adapter>(stub_->rpc, &v1::Admin::Stub::LoadAdapter, request, options);
}

absl::StatusOr<v1::Adapter> AdminClient::GetAdapter(const std::string& name,
                                                    const CallOptions& options) const {
  v1::GetAdapterRequest request;
  request.set_name(name);
  return Unary<v1::Adapter>(stub_->rpc, &v1::Admin::Stub::GetAdapter, request, options);
}

absl::StatusOr<v1::Adapter> AdminClient::UnloadAdapter(const v1::UnloadAdapterRequest& request,
                                                       const CallOptions& options) const {
  return Unary<v1::Adapter>(stub_->rpc, &v1::Admin::Stub::UnloadAdapter, request, options);
}

absl::StatusOr<v1::Adapter> AdminClient::PinAdapter(const v1::PinAdapterRequest& request,
                                                    const CallOptions& options) const {
  return Unary<v1::Adapter>(stub_->rpc, &v1::Admin::Stub::PinAdapter, request, options);
}

absl::StatusOr<v1::Adapter> AdminClient::UnpinAdapter(const v1::UnpinAdapterRequest& request,
                                                      const CallOptions& options) const {
  return Unary<v1::Adapter>(stub_->rpc, &v1::Admin::Stub::UnpinAdapter, request, options);
}

absl::StatusOr<v1::ApplyAdaptersResponse> AdminClient::ApplyAdapters(const v1::ApplyAdaptersRequest& request,
                                                                     const CallOptions& options) const {
  return Unary<v1::ApplyAdaptersResponse>(stub_->rpc, &v1::Admin::Stub::ApplyAdapters, request, options);
}

absl::StatusOr<std::vector<v1::Adapter>> AdminClient::ListAdapters(const CallOptions& options) const {
  std::vector<v1::Adapter> adapters;
  v1::ListAdaptersRequest request;
  do {
    ASSIGN_OR_RETURN(const auto page, (Unary<v1::ListAdaptersResponse>(
                                          stub_->rpc, &v1::Admin::Stub::ListAdapters, request, options)));
    adapters.insert(adapters.end(), page.adapters().begin(), page.adapters().end());
    request.set_page_token(page.next_page_token());
  } while (!request.page_token().empty());
  return adapters;
}

absl::StatusOr<v1::ServerStatus> AdminClient::GetServerStatus(const CallOptions& options) const {
  return Unary<v1::ServerStatus>(stub_->rpc, &v1::Admin::Stub::GetServerStatus, v1::GetServerStatusRequest(),
                                 options);
}

absl::Status AdminClient::WatchAdapters(const CallOptions& options,
                                        const std::function<bool(const v1::AdapterEvent&)>& on_event) const {
  grpc::ClientContext context;
  Prepare(context, options);
  const auto reader = stub_->rpc.WatchAdapters(&context, v1::WatchAdaptersRequest());
  return ReadAll(context, *reader, on_event);
}

}  // namespace hydrad
