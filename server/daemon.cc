#include "server/daemon.h"

#include <fmt/core.h>

#include <algorithm>
#include <ctime>
#include <filesystem>
#include <future>
#include <system_error>
#include <utility>

#include "server/access.h"
#include "server/adapters/store/journal.h"
#include "server/backend/device.h"
#include "server/base/log.h"
#include "server/base/status_macros.h"
#include "server/http/admin_endpoints.h"
#include "server/http/cors.h"
#include "server/http/openai_service.h"
#include "server/limits.h"
#include "server/metrics/nvml.h"
#include "server/model/step_record.h"
#include "server/model/transformer.h"
#include "server/preflight.h"
#include "server/rpc/admin_json.h"
#include "server/sizing.h"
#include "server/where_is.h"

namespace hydrad {
namespace {

// What a reader that is still reading gets to see the end of its stream, when the scheduler has drained.
constexpr Duration kFlushTime = std::chrono::seconds(2);
constexpr size_t kMaxPromptBytes = 1 << 20;

std::string ModelName(const Config& config) {
  std::filesystem::path path = std::filesystem::path(config.model).lexically_normal();
  return path.has_filename() ? path.filename().string() : path.parent_path().filename().string();
}

// All that people call the model.
std::vector<std::string> ModelNames(const Config& config, const ModelConfig& model) {
  std::error_code error;
  return {ModelName(config), std::filesystem::weakly_canonical(config.model, error).string(), model.name};
}

// Whether administration over HTTP has a listener of its own.
bool HasHttpAdminListener(const Config& config) {
  return !config.http_admin_listen.empty() && config.http_admin_listen != config.http_listen;
}

// Bytes that can hold a prompt of the model's context several times over, so that tokenising one is bounded.
size_t MaxPromptBytes(int max_context) {
  return std::min<size_t>(kMaxPromptBytes, 4096 + 32 * static_cast<size_t>(max_context));
}

}  // namespace

Duration FromSeconds(double seconds) {
  return std::chrono::duration_cast<Duration>(std::chrono::duration<double>(seconds));
}

Daemon::Daemon(const Config& config, std::function<void()> device_lost)
    : config_(config),
      device_lost_(std::move(device_lost)),
      stalls_(
          FromSeconds(config.stall_limit), clock_, [] { return WhereIs(kSchedulerThread, kWhereIsLimit); },
          [](const std::string& text) { Log()->error("{}", text); }) {}

Daemon::~Daemon() {
  if (server_ != nullptr) server_->StopLooking();  // at other listeners, which go first
  if (self_test_ != nullptr) self_test_->Close();  // the scheduler goes first
  if (adapters_ != nullptr) adapters_->SetWaker(nullptr);
}

absl::Status Daemon::Start() {
  RETURN_IF_ERROR(CheckConfig(config_));  // first, so that a mistake is not told after minutes of loading
  RETURN_IF_ERROR(CheckSystem(config_));
  RETURN_IF_ERROR(ReadTls());
  RETURN_IF_ERROR(Bind());
  ASSIGN_OR_RETURN(audit_, AuditLog::Open(config_.audit_log, clock_));
  ASSIGN_OR_RETURN(std::vector<TenantConfig> tenants, Tenants(config_));
  admission_ = std::make_unique<Admission>(std::move(tenants), clock_);
  admins_ = std::make_unique<Admission>(Administrators(config_), clock_);
  RETURN_IF_ERROR(LoadModel());
  RETURN_IF_ERROR(StartScheduler());
  RETURN_IF_ERROR(LoadAdapters());
  return Serve();
}

absl::Status Daemon::ReadTls() {
  ASSIGN_OR_RETURN(std::optional<Certificates> certificates, CertificatesOf(config_));
  if (!certificates) return absl::OkStatus();
  Log()->info("TLS: the certificate is valid until {}", certificates->until);
  certificates_ = std::make_unique<CertificateHolder>(*std::move(certificates));
  options_.certificates = certificates_.get();
  return absl::OkStatus();
}

// Every address is this daemon's before it loads anything: a second one is told at once. Clients that connect
// wait until it serves; metrics are there from here on.
absl::Status Daemon::Bind() {
  ASSIGN_OR_RETURN(const ConnectionShares shares,
                   ShareDescriptors(RaiseFileLimit(), config_.http_listen.empty() ? 1 : 2,
                                    HasHttpAdminListener(config_) ? 2 : 1, config_.max_connections,
                                    config_.max_connections_per_peer));
  options_.listen = config_.listen;
  options_.admin_listen = config_.admin_listen;
  options_.allow_plaintext_public = config_.allow_plaintext_public;
  options_.reflection = config_.reflection;
  options_.connections = {.total = shares.inference, .per_peer = shares.per_peer};
  options_.admin_connections = {.total = shares.admin, .per_peer = shares.admin_per_peer};
  options_.unread = {.stream_bytes = config_.unread_per_answer,
                     .tenant_bytes = config_.unread_per_tenant,
                     .stall = FromSeconds(config_.reader_stall_timeout)};
  options_.health.heartbeat_limit = FromSeconds(config_.stall_limit);
  ASSIGN_OR_RETURN(ServerSockets sockets, Server::Bind(options_));
  sockets_.emplace(std::move(sockets));
  if (!config_.http_listen.empty()) {
    ASSIGN_OR_RETURN(
        ListenSocket http,
        HttpServer::Bind(config_.http_listen, certificates_ != nullptr || config_.allow_plaintext_public));
    http_socket_.emplace(std::move(http));
  }
  if (HasHttpAdminListener(config_)) {
    ASSIGN_OR_RETURN(ListenSocket http_admin,
                     HttpServer::Bind(config_.http_admin_listen,
                                      certificates_ != nullptr || config_.allow_plaintext_public));
    http_admin_socket_.emplace(std::move(http_admin));
  }
  if (config_.metrics_listen.empty()) return absl::OkStatus();
  ASSIGN_OR_RETURN(exporter_, Exporter::Start(config_.metrics_listen, metrics_));
  return absl::OkStatus();
}

void Daemon::LogReady() const {
  const std::string http_admin =
      http_admin_ == nullptr ? "" : fmt::format(" http-admin {}", http_admin_->address());
  Log()->info("ready: inference {} admin {} metrics {} http {}{} model {}", server_->address(),
              config_.admin_listen.empty() ? "none" : server_->admin_address(),
              exporter_ == nullptr ? "none" : exporter_->address(),
              http_ == nullptr ? "none" : http_->address(), http_admin, ModelName(config_));
}

absl::Status Daemon::OpenBackend() {
  const DeviceOptions options = {.device = config_.device,
                                 .cuda_library = CudaLibraryPath(),
                                 .cpu = {.threads = config_.threads, .weight_type = WeightType(config_)},
                                 .cuda = {.memory_fraction = config_.device_memory_fraction,
                                          .adapter_bytes = config_.adapter_device_memory}};
  ASSIGN_OR_RETURN(Device device, OpenDevice(options));
  if (!device.fell_back.empty()) Log()->warn("--device auto serves on the CPU: {}", device.fell_back);
  backend_ = std::move(device.backend);
  OpenMeter();
  return absl::OkStatus();
}

// Power and energy are told where they can be: nothing depends on them.
void Daemon::OpenMeter() {
  if (backend_->pci_address().empty()) return;
  absl::StatusOr<std::unique_ptr<Nvml>> nvml = Nvml::Open(kNvmlLibrary, backend_->pci_address());
  if (!nvml.ok()) {
    Log()->info("no series of power and energy: {}", std::string(nvml.status().message()));
    return;
  }
  metrics_.SetDeviceReader([meter = std::shared_ptr<const Nvml>(*std::move(nvml))] { return meter->Read(); });
}

absl::Status Daemon::LoadModel() {
  ASSIGN_OR_RETURN(const ModelConfig model, LoadModelConfig(config_.model));
  RETURN_IF_ERROR(OpenBackend());
  ASSIGN_OR_RETURN(const ModelLimits limits, SizeModel(config_, model, backend_->kv_type(),
                                                       /*budgeted=*/backend_->free_bytes().has_value()));
  ASSIGN_OR_RETURN(tokenizer_, Tokenizer::Load(config_.model + "/tokenizer.json"));
  LoadChat();
  ASSIGN_OR_RETURN(base_weights_, BaseWeights::Open(config_.model, model));
  ASSIGN_OR_RETURN(network_, LoadTransformer(*base_weights_, model, *backend_, limits));
  if (config_.record_steps.empty()) {
    model_ = network_.get();
  } else {
    ASSIGN_OR_RETURN(recording_, RecordingModel::Open(*network_, config_.record_steps));
    model_ = recording_.get();
  }
  OpenForms();
  metrics_.SetBuildInfo(HYDRAD_VERSION, backend_->description(), ModelName(config_));
  const int blocks = model_->limits().kv_blocks;
  Log()->info("model {}: context {}, KV cache {} MiB in {} blocks, device {}", ModelName(config_),
              limits.max_context, (blocks * KvBlockBytes(model, limits, backend_->kv_type())) >> 20, blocks,
              backend_->description());
  Log()->info("types: base weights {}, adapters {}, KV cache {}", backend_->weight_format().name,
              Name(backend_->adapter_type()), Name(backend_->kv_type()));
  if (const std::string memory = backend_->memory_report(); !memory.empty())
    Log()->info("memory: {}", memory);
  return absl::OkStatus();
}

// A model without a template that can be used serves what needs none.
void Daemon::LoadChat() {
  chat_ = std::make_shared<const ChatFormat>(ReadChatFiles(config_.model));
  const absl::Status status = chat_->status();
  if (status.ok()) return;
  const std::string text =
      fmt::format("the model {}: Chat is refused where an adapter brings none, the rest serves",
                  std::string(status.message()));
  if (chat_->empty()) {
    Log()->info("{}", text);
  } else {
    Log()->warn("{}", text);
  }
}

// Structured output is there where its library is; all else serves without.
void Daemon::OpenForms() {
  const GrammarOptions options = DefaultGrammarOptions();
  const ModelConfig& model = model_->config();
  absl::StatusOr<std::unique_ptr<GrammarService>> forms =
      GrammarService::Open(options, *tokenizer_, model.vocab_size, model.eos_tokens);
  if (forms.ok()) {
    forms_ = *std::move(forms);
    Log()->info("structured output: {}", options.directory);
  } else if (absl::IsNotFound(forms.status())) {
    Log()->info("no structured output (deploy/get-grammar fetches what it needs): {}",
                std::string(forms.status().message()));
  } else {
    Log()->warn("no structured output: {}", std::string(forms.status().message()));
  }
}

// Before the adapters, which are tried out on it as they are loaded.
absl::Status Daemon::StartScheduler() {
  delivery_ = std::make_unique<Delivery>(options_.unread);
  scheduler_ = std::make_unique<Scheduler>(
      SchedulerOptions{.max_running = config_.max_running,
                       .max_waiting = config_.max_waiting,
                       .prefill_chunk = config_.prefill_chunk,
                       .prefix_cache = config_.prefix_cache == "on",
                       .want_adapters = [this](const auto& names) { adapters_->Want(names); },
                       .step_done = [this] { delivery_->StepDone(); }},
      *model_, *tokenizer_, clock_, metrics_);
  self_test_ =
      std::make_unique<SelfTest>(*scheduler_, model_->config().vocab_size, model_->limits().max_context);
  return Annotate(self_test_->Base(), fmt::format("model '{}'", config_.model));
}

// The wanted adapters of the run before, if there is a place for them.
absl::StatusOr<AdapterStore::Parts> Daemon::StoreParts() {
  AdapterStore::Parts parts;
  if (config_.state_dir.empty()) return parts;
  ASSIGN_OR_RETURN(std::unique_ptr<LogDirectory> directory, OpenLogDirectory(config_.state_dir));
  ASSIGN_OR_RETURN(parts.journal, Journal::Open(std::move(directory)));
  Log()->info("{} adapters are wanted from before", parts.journal->opened().adapters.size());
  return parts;
}

// What is not an operator's doing is written to the audit log here.
void Daemon::Watch(const AdapterEvent& event) {
  census_.Event(event);
  const bool failed = event.change == AdapterChange::kFetchFailed;
  const bool there = event.info.tier == Tier::kDevice || event.info.state != AdapterState::kAvailable;
  const bool back =
      !failed && there && away_.erase(event.info.name) > 0 && event.info.state == AdapterState::kAvailable;
  if (failed) away_.insert(event.info.name);
  if (!failed && !back) return;
  audit_->Write({.action = "adapter.fetch",
                 .actor = "server",
                 .peer = "",
                 .adapter = event.info.name,
                 .path = event.info.path,
                 .status = event.info.error});
}

absl::Status Daemon::LoadAdapters() {
  ASSIGN_OR_RETURN(AdapterStore::Parts parts, StoreParts());
  adapters_ = std::make_unique<AdapterStore>(
      AdapterStoreOptions{.root = config_.adapter_root,
                          .device_bytes = config_.adapter_device_memory,
                          .host_bytes = config_.adapter_host_memory,
                          .loader_threads = 2,
                          .fetch_threads = 2,
                          .loaders_in_background = true,  // running requests do not feel them
                          .base_names = ModelNames(config_, model_->config()),
                          .base_chat = chat_,
                          .base_tokenizer = tokenizer_,
                          .base = base_weights_,
                          .try_out = [this](const auto& adapter) { return self_test_->Adapter(adapter); }},
      *backend_, model_->config(), clock_, std::move(parts));
  adapters_->SetWaker([this] { scheduler_->Wake(); });
  adapters_->AddWatcher([this](const AdapterEvent& event) { Watch(event); });
  for (const AdapterInfo& info : adapters_->List()) census_.Event({info, AdapterChange::kState});
  for (const Config::AdapterSpec& spec : config_.adapters) {
    std::promise<absl::StatusOr<AdapterInfo>> loaded;
    adapters_->Load(spec.name, spec.path,
                    [&](const absl::StatusOr<AdapterInfo>& info) { loaded.set_value(info); },
                    // The configuration is what remembers it.
                    {.record = false, .lenient = config_.lenient});
    const absl::StatusOr<AdapterInfo> info = loaded.get_future().get();
    audit_->Write({.action = "adapter.load",
                   .actor = "start",
                   .peer = "",
                   .adapter = spec.name,
                   .path = spec.path,
                   .status = info.status()});
    if (!info.ok()) return Annotate(info.status(), fmt::format("--adapter {}={}", spec.name, spec.path));
  }
  return absl::OkStatus();
}

absl::Status Daemon::Serve() {
  calls_ = CallsOf(*scheduler_);
  const int max_context = model_->limits().max_context;
  intake_ = std::make_unique<Intake>(Rooms{.scheduler = calls_,
                                           .adapters = *adapters_,
                                           .admission = *admission_,
                                           .tokenizer = *tokenizer_,
                                           .metrics = metrics_,
                                           .audit = *audit_,
                                           .delivery = *delivery_,
                                           .clock = clock_,
                                           .limits = {.vocab_size = model_->config().vocab_size,
                                                      .max_context = max_context,
                                                      .max_prompt_bytes = MaxPromptBytes(max_context)},
                                           .chat = chat_,
                                           .tool_format = ToolFormatNamed(config_.tool_parser),
                                           .forms = forms_.get()});
  const ServerFacts facts = {.version = HYDRAD_VERSION,
                             .base_model = ModelName(config_),
                             .device = backend_->description(),
                             .weight_type = std::string(backend_->weight_format().name)};
  ASSIGN_OR_RETURN(server_, Server::Start(
                                options_, *intake_, *admins_, facts, [this] { Tick(); },
                                *std::exchange(sockets_, std::nullopt)));
  ServeHttp(facts);
  return absl::OkStatus();
}

void Daemon::ServeHttp(const ServerFacts& server_facts) {
  const auto health = [server = server_.get()] { return server->health(); };
  const OpenAiFacts facts = {
      .version = HYDRAD_VERSION, .base_model = ModelName(config_), .started = std::time(nullptr)};
  const auto with_admin = [&](std::shared_ptr<HttpService> rest) {
    return MakeAdminEndpoints(intake_->rooms(), *admins_, server_->adapters(),
                              AdminJsonCalls(*intake_, server_->adapters(), server_facts),
                              server_->admin_unread(), health, facts, std::move(rest));
  };
  if (http_socket_) {
    std::shared_ptr<HttpService> service =
        MakeOpenAiService(*intake_, server_->unread(), server_->texts(), health, facts);
    if (!config_.http_cors_origin.empty())
      service = AllowOrigins(config_.http_cors_origin, std::move(service));
    if (config_.http_admin_listen == config_.http_listen) service = with_admin(std::move(service));
    http_ = ServeHttp("http", *std::exchange(http_socket_, std::nullopt), options_.connections,
                      std::move(service));
  }
  if (http_admin_socket_) {
    http_admin_ = ServeHttp("http_admin", *std::exchange(http_admin_socket_, std::nullopt),
                            options_.admin_connections, with_admin(nullptr));
  }
}

std::unique_ptr<HttpServer> Daemon::ServeHttp(const std::string& name, ListenSocket socket,
                                              const ConnectionLimits& connections,
                                              std::shared_ptr<HttpService> service) {
  auto http = std::make_unique<HttpServer>(
      HttpOptions{.name = name,
                  .request = {.body_bytes = static_cast<size_t>(options_.max_request_bytes)},
                  .connections = connections,
                  .certificates = certificates_.get(),
                  .stall = options_.unread.stall},
      std::move(socket), std::move(service), metrics_);
  server_->LookAt(http->target());
  return http;
}

// About twice a second, on the health thread.
void Daemon::Tick() {
  adapters_->TryPinnedAgain();
  metrics_.SetAdapterBytes("device", adapters_->device_bytes_used());
  metrics_.SetAdapterBytes("host", adapters_->host_bytes_used());
  const Duration age = calls_.status().since_heartbeat;
  metrics_.SetHeartbeatAge(Seconds(age));
  stalls_.Look(age);
  LookAtDevice();
}

absl::Status Daemon::device_status() const { return backend_->device_status(); }

void Daemon::LookAtDevice() {
  const absl::Status status = device_status();
  if (status.ok() || std::exchange(device_loss_told_, true)) return;
  Log()->error("the device is lost: {}", std::string(status.message()));
  device_lost_();
}

void Daemon::Reload(const std::vector<std::string>& arguments, const std::string& effective) {
  absl::StatusOr<Changes> changes = ReadChanges(arguments, config_, effective);
  metrics_.ConfigReloaded(changes.ok());
  audit_->Write({.action = "server.reload",
                 .actor = "signal",
                 .peer = "",
                 .adapter = "",
                 .path = "",
                 .status = changes.status()});
  if (!changes.ok()) {
    Log()->error("not reloaded, all stays as it was: {}", std::string(changes.status().message()));
    return;
  }
  SetLogLevel(changes->log_level);
  for (const std::string& option : changes->left_out) {
    Log()->warn("{} has another value now, which is for the next start", option);
  }
  if (changes->certificates) {
    Log()->info("TLS: the certificate is valid until {}", changes->certificates->until);
    certificates_->Replace(*std::move(changes->certificates));
  }
  const size_t tenants = changes->tenants.size();
  admission_->Replace(std::move(changes->tenants));
  admins_->Replace(std::move(changes->administrators));
  Log()->info("reloaded: {} tenants", tenants);
}

void Daemon::Drain(Signals& signals, Watchdog& watchdog) {
  const absl::Status device = device_status();
  audit_->Write({.action = "server.drain",
                 .actor = device.ok() ? "signal" : "server",
                 .peer = "",
                 .adapter = "",
                 .path = "",
                 .status = device});
  server_->SetDraining();
  for (HttpServer* http : {http_.get(), http_admin_.get()}) {
    if (http != nullptr) http->SetDraining();
  }
  watchdog.Enter("lame duck");
  if (device.ok()) signals.Linger(FromSeconds(config_.lame_duck));
  intake_->Close();
  watchdog.Enter("drain of the scheduler");
  scheduler_->Drain(device.ok() ? FromSeconds(config_.drain_timeout) : Duration::zero());
  delivery_->Flush();
  watchdog.Enter("end of the listeners");
  server_->StopLooking();
  for (HttpServer* http : {http_.get(), http_admin_.get()}) {
    if (http != nullptr) http->Shutdown(kFlushTime);
  }
  server_->Shutdown(kFlushTime);
  Log()->info("drained");
}

}  // namespace hydrad
