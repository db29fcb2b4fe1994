#include "tests/fakes/fake_server.h"

#include <grpcpp/grpcpp.h>

#include <cmath>
#include <map>
#include <set>
#include <sstream>

#include "grpc/health/v1/health.grpc.pb.h"
#include "hydrad/v1/admin.grpc.pb.h"
#include "hydrad/v1/inference.grpc.pb.h"
#include "server/base/check.h"
#include "server/base/mutex.h"

namespace hydrad {
namespace {

using grpc::ServerContext;
using grpc::ServerWriter;
using grpc::health::v1::HealthCheckRequest;
using grpc::health::v1::HealthCheckResponse;

constexpr int kPage = 2;

grpc::Status ToGrpc(const google::rpc::Status& status) {
  return {static_cast<grpc::StatusCode>(status.code()), status.message(), status.SerializeAsString()};
}

grpc::Status NotFoundStatus(const std::string& name) {
  google::rpc::Status status =
      RichStatus(grpc::NOT_FOUND, "no adapter '" + name + "'", "ADAPTER_NOT_FOUND", "adapter");
  google::rpc::ErrorInfo info;
  status.details(0).UnpackTo(&info);
  (*info.mutable_metadata())["adapter"] = name;
  status.mutable_details(0)->PackFrom(info);
  return ToGrpc(status);
}

// What the services share.
struct Shared {
  mutable Mutex mu;
  google::rpc::Status failure;
  HealthCheckResponse::ServingStatus health = HealthCheckResponse::SERVING;
  std::vector<v1::AdapterEvent> watch_events;
  std::map<std::string, v1::Adapter> adapters;
  v1::GenerateRequest last_generate;
  v1::ChatRequest last_chat;
  std::string authorization, adapter_header;
  int generate_calls = 0;
  std::set<std::string> peers;
  bool saw_cancel = false;
  uint64_t generations = 0;

  // Notes who calls; the scripted failure, if there is one.
  grpc::Status Enter(const grpc::ServerContextBase& context) {
    MutexLock lock(&mu);
    peers.insert(context.peer());
    const auto header = [&metadata = context.client_metadata()](const char* name) {
      const auto it = metadata.find(name);
      return it == metadata.end() ? "" : std::string(it->second.data(), it->second.size());
    };
    authorization = header("authorization");
    adapter_header = header("x-hydrad-adapter");
    return failure.code() == 0 ? grpc::Status::OK : ToGrpc(failure);
  }
};

v1::Chunk WordChunk(int choice, int n, const std::string& word, bool first) {
  v1::Chunk chunk;
  chunk.set_choice(choice);
  chunk.set_text((first ? (n > 1 ? std::to_string(choice) + ":" : "") : " ") + word);
  chunk.add_token_ids(word.size());
  return chunk;
}

// What an adapter with two experts might answer.
v1::Routing SomeRouting() {
  v1::Routing routing;
  routing.set_adapter("domains");
  routing.set_tokens(7);
  v1::Routing::Router* router = routing.add_routers();
  router->set_layer(3);
  router->set_projection("up_proj");
  router->add_mean(0.25f);
  router->add_mean(0.75f);
  routing.add_choices()->add_top(1);
  return routing;
}

std::string TextOf(const v1::GenerateRequest& request) { return request.text(); }
std::string TextOf(const v1::ChatRequest& request) {
  return request.messages().empty() ? "" : request.messages(request.messages_size() - 1).content();
}

// The whole stream for a request.
template <class Request>
std::vector<v1::GenerateResponse> Answer(const Request& request) {
  std::vector<std::string> words;
  std::istringstream text(TextOf(request));
  for (std::string word; text >> word;) words.push_back(word);
  std::vector<v1::GenerateResponse> messages(1);
  messages[0].mutable_start()->set_prompt_tokens(words.size());
  messages[0].mutable_start()->set_adapter(request.adapter());
  messages[0].mutable_start()->set_generation(request.adapter().empty() ? 0 : 7);
  messages[0].mutable_start()->set_request_id("r1");
  messages[0].mutable_start()->set_model("fake");
  if (request.adapter() == "thinker") messages.emplace_back().mutable_chunk()->set_reasoning("Hm.");
  const int n = request.sampling().has_n() ? request.sampling().n() : 1;
  const int limit = request.stopping().has_max_tokens() ? request.stopping().max_tokens() : 1000;
  const int count = std::min<int>(words.size(), limit);
  for (int i = 0; i < count; ++i) {
    for (int choice = 0; choice < n; ++choice) {
      v1::Chunk& chunk = *messages.emplace_back().mutable_chunk();
      chunk = WordChunk(choice, n, words[i], i == 0);
      if (request.output().has_logprobs()) {
        v1::TokenLogprob* token = chunk.add_logprobs()->mutable_token();
        token->set_logprob(-0.5f);
        token->set_bytes(words[i] + "\xC3");
      }
      if (i + 1 == count) {
        chunk.set_finish_reason(count < words.size() ? v1::FINISH_REASON_LENGTH : v1::FINISH_REASON_STOP);
      }
    }
  }
  v1::End& end = *messages.emplace_back().mutable_end();
  if (request.output().routing() && request.adapter() != "plain") *end.add_routing() = SomeRouting();
  v1::Usage& usage = *end.mutable_usage();
  usage.set_prompt_tokens(words.size());
  usage.set_generated_tokens(n * count);
  usage.set_decode_seconds(0.25);
  return messages;
}

// One streamed answer. "stuck" writes its start only and waits for the client to give up.
class GenerateWriter final : public grpc::ServerWriteReactor<v1::GenerateResponse> {
 public:
  template <class Request>
  GenerateWriter(Shared& shared, const grpc::Status& begun, const Request& request)
      : shared_(shared), messages_(Answer(request)), stuck_(begun.ok() && request.adapter() == "stuck") {
    if (stuck_) messages_.resize(1);
    if (begun.ok()) {
      OnWriteDone(true);
    } else {
      Finish(begun);
    }
  }

 private:
  void OnWriteDone(bool ok) override {
    if (ok && next_ < messages_.size()) return StartWrite(&messages_[next_++]);
    if (!stuck_) Finish(grpc::Status::OK);
  }
  void OnCancel() override {
    if (!stuck_) return;
    Finish(grpc::Status::CANCELLED);
    MutexLock lock(&shared_.mu);
    shared_.saw_cancel = true;
  }
  void OnDone() override { std::unique_ptr<GenerateWriter> self(this); }

  Shared& shared_;
  std::vector<v1::GenerateResponse> messages_;
  const bool stuck_;
  size_t next_ = 0;
};

class InferenceService final : public v1::Inference::WithCallbackMethod_Generate<
                                   v1::Inference::WithCallbackMethod_Chat<v1::Inference::Service>> {
 public:
  explicit InferenceService(Shared& shared) : shared_(shared) {}

  grpc::ServerWriteReactor<v1::GenerateResponse>* Generate(grpc::CallbackServerContext* context,
                                                           const v1::GenerateRequest* request) override {
    return new GenerateWriter(shared_, Begin(*context, *request), *request);  // gone after its OnDone
  }
  grpc::ServerWriteReactor<v1::GenerateResponse>* Chat(grpc::CallbackServerContext* context,
                                                       const v1::ChatRequest* request) override {
    return new GenerateWriter(shared_, Begin(*context, *request), *request);  // gone after its OnDone
  }
  grpc::Status GenerateUnary(ServerContext* context, const v1::GenerateRequest* request,
                             v1::GenerateResult* result) override {
    return Unary(*context, *request, result);
  }
  grpc::Status ChatUnary(ServerContext* context, const v1::ChatRequest* request,
                         v1::GenerateResult* result) override {
    return Unary(*context, *request, result);
  }
  grpc::Status Tokenize(ServerContext* context, const v1::TokenizeRequest* request,
                        v1::TokenizeResponse* response) override {
    if (const grpc::Status status = shared_.Enter(*context); !status.ok()) return status;
    for (const char c : request->text()) {
      response->add_token_ids(c);
      response->add_tokens(std::string(1, c));
    }
    return grpc::Status::OK;
  }
  grpc::Status Detokenize(ServerContext* context, const v1::DetokenizeRequest* request,
                          v1::DetokenizeResponse* response) override {
    if (const grpc::Status status = shared_.Enter(*context); !status.ok()) return status;
    for (const int id : request->token_ids()) response->mutable_text()->push_back(static_cast<char>(id));
    return grpc::Status::OK;
  }
  grpc::Status ListModels(ServerContext* context, const v1::ListModelsRequest*,
                          v1::ListModelsResponse* response) override {
    if (const grpc::Status status = shared_.Enter(*context); !status.ok()) return status;
    response->set_base_model("fake");
    response->add_models()->set_chat(true);
    MutexLock lock(&shared_.mu);
    for (const auto& [name, adapter] : shared_.adapters) {
      v1::ListModelsResponse::Model& model = *response->add_models();
      model.set_name(name);
      model.set_generation(adapter.generation());
    }
    return grpc::Status::OK;
  }

 private:
  template <class Request>
  grpc::Status Unary(ServerContext& context, const Request& request, v1::GenerateResult* result) {
    if (const grpc::Status status = Begin(context, request); !status.ok()) return status;
    const auto messages = Answer(request);
    *result->mutable_start() = messages.front().start();
    *result->mutable_usage() = messages.back().end().usage();
    *result->mutable_routing() = messages.back().end().routing();
    v1::Chunk& choice = *result->add_choices();
    choice.set_text(TextOf(request));
    choice.set_finish_reason(v1::FINISH_REASON_STOP);
    return grpc::Status::OK;
  }
  void Note(const v1::GenerateRequest& request) ABSL_EXCLUSIVE_LOCKS_REQUIRED(shared_.mu) {
    shared_.last_generate = request;
  }
  void Note(const v1::ChatRequest& request) ABSL_EXCLUSIVE_LOCKS_REQUIRED(shared_.mu) {
    shared_.last_chat = request;
  }
  template <class Request>
  grpc::Status Begin(const grpc::ServerContextBase& context, const Request& request) {
    if (const grpc::Status status = shared_.Enter(context); !status.ok()) return status;
    MutexLock lock(&shared_.mu);
    Note(request);
    ++shared_.generate_calls;
    return request.adapter() == "missing" ? NotFoundStatus("missing") : grpc::Status::OK;
  }
  Shared& shared_;
};

class AdminService final : public v1::Admin::Service {
 public:
  explicit AdminService(Shared& shared) : shared_(shared) {}

  grpc::Status LoadAdapter(ServerContext* context, const v1::LoadAdapterRequest* request,
                           v1::Adapter* adapter) override {
    if (const grpc::Status status = shared_.Enter(*context); !status.ok()) return status;
    adapter->set_name(request->name());
    adapter->set_path(request->path());
    adapter->set_family("lora");
    adapter->set_max_rank(8);
    adapter->set_experts(1);
    adapter->add_targets("q_proj");
    adapter->set_device_bytes(4096);
    MutexLock lock(&shared_.mu);
    if (request->validate_only()) return grpc::Status::OK;
    adapter->set_state(v1::Adapter::AVAILABLE);
    adapter->set_generation(++shared_.generations);
    adapter->set_tier(v1::Adapter::DEVICE);
    shared_.adapters[request->name()] = *adapter;
    return grpc::Status::OK;
  }
  grpc::Status GetAdapter(ServerContext* context, const v1::GetAdapterRequest* request,
                          v1::Adapter* adapter) override {
    if (const grpc::Status status = shared_.Enter(*context); !status.ok()) return status;
    MutexLock lock(&shared_.mu);
    const auto it = shared_.adapters.find(request->name());
    if (it == shared_.adapters.end()) return NotFoundStatus(request->name());
    *adapter = it->second;
    return grpc::Status::OK;
  }
  grpc::Status ListAdapters(ServerContext* context, const v1::ListAdaptersRequest* request,
                            v1::ListAdaptersResponse* response) override {
    if (const grpc::Status status = shared_.Enter(*context); !status.ok()) return status;
    MutexLock lock(&shared_.mu);
    for (auto it = shared_.adapters.upper_bound(request->page_token()); it != shared_.adapters.end(); ++it) {
      if (response->adapters_size() == kPage) {
        response->set_next_page_token(response->adapters(kPage - 1).name());
        break;
      }
      *response->add_adapters() = it->second;
    }
    return grpc::Status::OK;
  }
  grpc::Status UnloadAdapter(ServerContext* context, const v1::UnloadAdapterRequest* request,
                             v1::Adapter* adapter) override {
    if (const grpc::Status status = shared_.Enter(*context); !status.ok()) return status;
    MutexLock lock(&shared_.mu);
    auto node = shared_.adapters.extract(request->name());
    if (!node) return NotFoundStatus(request->name());
    *adapter = node.mapped();
    adapter->set_state(v1::Adapter::UNLOADED);
    return grpc::Status::OK;
  }
  grpc::Status SetPinned(ServerContext& context, const std::string& name, bool pinned, v1::Adapter* adapter) {
    if (const grpc::Status status = shared_.Enter(context); !status.ok()) return status;
    MutexLock lock(&shared_.mu);
    const auto found = shared_.adapters.find(name);
    if (found == shared_.adapters.end()) return NotFoundStatus(name);
    found->second.set_pinned(pinned);
    *adapter = found->second;
    return grpc::Status::OK;
  }
  grpc::Status PinAdapter(ServerContext* context, const v1::PinAdapterRequest* request,
                          v1::Adapter* adapter) override {
    return SetPinned(*context, request->name(), true, adapter);
  }
  grpc::Status UnpinAdapter(ServerContext* context, const v1::UnpinAdapterRequest* request,
                            v1::Adapter* adapter) override {
    return SetPinned(*context, request->name(), false, adapter);
  }
  // Answers as if everything were new.
  grpc::Status ApplyAdapters(ServerContext* context, const v1::ApplyAdaptersRequest* request,
                             v1::ApplyAdaptersResponse* response) override {
    if (const grpc::Status status = shared_.Enter(*context); !status.ok()) return status;
    for (const v1::WantedAdapter& wanted : request->adapters()) {
      auto* change = response->add_changes();
      change->set_name(wanted.name());
      change->set_action(v1::ApplyAdaptersResponse::Change::CREATE);
    }
    return grpc::Status::OK;
  }
  grpc::Status WatchAdapters(ServerContext* context, const v1::WatchAdaptersRequest*,
                             ServerWriter<v1::AdapterEvent>* writer) override {
    if (const grpc::Status status = shared_.Enter(*context); !status.ok()) return status;
    MutexLock lock(&shared_.mu);
    for (const auto& [name, adapter] : shared_.adapters) {
      v1::AdapterEvent event;
      *event.mutable_adapter() = adapter;
      writer->Write(event);
    }
    for (const v1::AdapterEvent& event : shared_.watch_events) writer->Write(event);
    return grpc::Status::OK;
  }
  grpc::Status GetServerStatus(ServerContext* context, const v1::GetServerStatusRequest*,
                               v1::ServerStatus* status) override {
    if (const grpc::Status failure = shared_.Enter(*context); !failure.ok()) return failure;
    status->set_version("0.1.0");
    status->set_base_model("fake");
    status->set_kv_blocks_total(100);
    status->set_kv_blocks_free(60);
    return grpc::Status::OK;
  }

 private:
  Shared& shared_;
};

class HealthService final : public grpc::health::v1::Health::Service {
 public:
  explicit HealthService(Shared& shared) : shared_(shared) {}

  grpc::Status Check(ServerContext*, const HealthCheckRequest* request,
                     HealthCheckResponse* response) override {
    if (request->service() == "unknown") return {grpc::NOT_FOUND, "unknown service"};
    MutexLock lock(&shared_.mu);
    response->set_status(shared_.health);
    return grpc::Status::OK;
  }

 private:
  Shared& shared_;
};

}  // namespace

struct FakeServer::State {
  Shared shared;
  InferenceService inference{shared};
  AdminService admin{shared};
  HealthService health{shared};
  int port = 0;
  std::unique_ptr<grpc::Server> server;
};

FakeServer::FakeServer() : state_(std::make_unique<State>()) {
  grpc::ServerBuilder builder;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &state_->port);
  builder.RegisterService(&state_->inference);
  builder.RegisterService(&state_->admin);
  builder.RegisterService(&state_->health);
  state_->server = builder.BuildAndStart();
  HYDRAD_CHECK(state_->server != nullptr && state_->port != 0);
}

FakeServer::~FakeServer() { state_->server->Shutdown(std::chrono::system_clock::now()); }

std::string FakeServer::address() const { return "127.0.0.1:" + std::to_string(state_->port); }

void FakeServer::FailWith(const google::rpc::Status& status) {
  MutexLock lock(&state_->shared.mu);
  state_->shared.failure = status;
}

void FakeServer::SetHealth(HealthCheckResponse::ServingStatus status) {
  MutexLock lock(&state_->shared.mu);
  state_->shared.health = status;
}

void FakeServer::SetWatchEvents(std::vector<v1::AdapterEvent> events) {
  MutexLock lock(&state_->shared.mu);
  state_->shared.watch_events = std::move(events);
}

v1::GenerateRequest FakeServer::last_generate() const {
  MutexLock lock(&state_->shared.mu);
  return state_->shared.last_generate;
}

v1::ChatRequest FakeServer::last_chat() const {
  MutexLock lock(&state_->shared.mu);
  return state_->shared.last_chat;
}

std::string FakeServer::last_authorization() const {
  MutexLock lock(&state_->shared.mu);
  return state_->shared.authorization;
}

std::string FakeServer::last_adapter_header() const {
  MutexLock lock(&state_->shared.mu);
  return state_->shared.adapter_header;
}

int FakeServer::generate_calls() const {
  MutexLock lock(&state_->shared.mu);
  return state_->shared.generate_calls;
}

int FakeServer::peers() const {
  MutexLock lock(&state_->shared.mu);
  return static_cast<int>(state_->shared.peers.size());
}

void FakeServer::AwaitCancel() const {
  MutexLock lock(&state_->shared.mu);
  state_->shared.mu.Await([this] { return state_->shared.saw_cancel; });
}

google::rpc::Status RichStatus(int code, const std::string& message, const std::string& reason,
                               const std::string& field, double retry_seconds) {
  google::rpc::Status status;
  status.set_code(code);
  status.set_message(message);
  google::rpc::ErrorInfo info;
  info.set_reason(reason);
  info.set_domain("hydrad");
  status.add_details()->PackFrom(info);
  if (!field.empty()) {
    google::rpc::BadRequest bad;
    bad.add_field_violations()->set_field(field);
    bad.mutable_field_violations(0)->set_description("is not right");
    status.add_details()->PackFrom(bad);
  }
  if (retry_seconds > 0) {
    google::rpc::RetryInfo retry;
    retry.mutable_retry_delay()->set_seconds(static_cast<int64_t>(retry_seconds));
    retry.mutable_retry_delay()->set_nanos(std::lround(std::fmod(retry_seconds, 1) * 1e9));
    status.add_details()->PackFrom(retry);
  }
  return status;
}

}  // namespace hydrad
