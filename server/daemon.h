// The rooms of the daemon put together: the only file, with daemon.cc, that knows every room.
#ifndef HYDRAD_SERVER_DAEMON_H_
#define HYDRAD_SERVER_DAEMON_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "server/adapter_census.h"
#include "server/adapters/store/adapter_store.h"
#include "server/admission/admission.h"
#include "server/base/certificates.h"
#include "server/base/clock.h"
#include "server/config.h"
#include "server/front/audit.h"
#include "server/front/delivery.h"
#include "server/http/http_server.h"
#include "server/metrics/exporter.h"
#include "server/metrics/metrics.h"
#include "server/model/base_weights.h"
#include "server/model/model.h"
#include "server/rpc/server.h"
#include "server/scheduler/scheduler.h"
#include "server/scheduler/self_test.h"
#include "server/signals.h"
#include "server/stall_report.h"
#include "server/text/grammar_service.h"
#include "server/text/tokenizer.h"
#include "server/watchdog.h"

namespace hydrad {

class Backend;

// The name of the thread whose heartbeat is watched.
inline constexpr char kSchedulerThread[] = "scheduler";
// How long a thread that is asked where it is has to answer.
inline constexpr Duration kWhereIsLimit = std::chrono::milliseconds(200);

Duration FromSeconds(double seconds);

// Builds every room bottom-up, serves, takes a changed configuration and drains. The members stand in the
// order of construction: each may use those above it, and is destroyed before them. Everything but what is
// said of a method happens on the thread that made it.
class Daemon {
 public:
  // The config must outlive the daemon. The health thread calls `device_lost`, once, when the device is lost:
  // then the daemon can serve nobody any more, and is to be drained. It must not wait.
  Daemon(const Config& config, std::function<void()> device_lost);
  ~Daemon();

  // Makes everything ready to serve, and serves; an error says why it does not, naming the option or file.
  // Call once. May throw what the system refuses: std::bad_alloc, std::system_error (threads).
  absl::Status Start();
  // Writes the one log line that tells where everything listens. REQUIRES: Start was OK.
  void LogReady() const;
  // Takes what has changed of the configuration; one that cannot be read leaves all as it was. `effective` is
  // the text of the configuration at start.
  void Reload(const std::vector<std::string>& arguments, const std::string& effective);
  // Refuses new requests, lets those that run end within the configured limits, and stops serving; where the
  // device is lost there is nothing to wait for. REQUIRES: Start was OK.
  void Drain(Signals& signals, Watchdog& watchdog);
  // OK, or why nothing can be served any more: the process should end with an error. REQUIRES: Start was OK.
  absl::Status device_status() const;

 private:
  absl::Status Bind();
  absl::Status ReadTls();
  absl::Status OpenBackend();
  void OpenMeter();
  absl::Status LoadModel();
  void LoadChat();
  void OpenForms();
  absl::Status StartScheduler();
  absl::StatusOr<AdapterStore::Parts> StoreParts();
  void Watch(const AdapterEvent& event);
  absl::Status LoadAdapters();
  absl::Status Serve();
  void ServeHttp(const ServerFacts& facts);
  std::unique_ptr<HttpServer> ServeHttp(const std::string& name, ListenSocket socket,
                                        const ConnectionLimits& connections,
                                        std::shared_ptr<HttpService> service);
  void Tick();
  void LookAtDevice();

  const Config& config_;
  const std::function<void()> device_lost_;
  bool device_loss_told_ = false;  // the health thread's
  const Clock& clock_ = SteadyClock();
  Metrics metrics_;
  ServerOptions options_;
  std::optional<ServerSockets> sockets_;                         // until the server has them
  std::optional<ListenSocket> http_socket_, http_admin_socket_;  // so too
  std::unique_ptr<CertificateHolder> certificates_;              // null: plain text
  std::unique_ptr<Exporter> exporter_;
  std::unique_ptr<AuditLog> audit_;
  std::unique_ptr<Backend> backend_;
  std::unique_ptr<Model> network_, recording_;
  Model* model_ = nullptr;  // one of them
  std::shared_ptr<const BaseWeights> base_weights_;
  std::shared_ptr<const Tokenizer> tokenizer_;
  std::shared_ptr<const ChatFormat> chat_;  // of the base model
  std::unique_ptr<GrammarService> forms_;   // null where its library is not installed
  std::unique_ptr<Admission> admission_, admins_;
  AdapterCensus census_{metrics_};
  std::unique_ptr<SelfTest> self_test_;
  std::set<std::string>
      away_;  // adapters that could not be brought, until they are; under the store's event lock
  std::unique_ptr<AdapterStore> adapters_;
  std::unique_ptr<Delivery> delivery_;
  std::unique_ptr<Scheduler> scheduler_;
  SchedulerCalls calls_;
  StallReport stalls_;
  std::unique_ptr<Intake> intake_;
  std::unique_ptr<Server> server_;
  std::unique_ptr<HttpServer> http_, http_admin_;  // share books and threads of the server
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_DAEMON_H_
