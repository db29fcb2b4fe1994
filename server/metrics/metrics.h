// Every series that Prometheus scrapes, in one place. The rest of the program reports events; names, units,
// labels and their bounds are this room's business.
#ifndef HYDRAD_SERVER_METRICS_METRICS_H_
#define HYDRAD_SERVER_METRICS_METRICS_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "server/metrics/device_reading.h"

namespace prometheus {
class Collectable;
}

namespace hydrad {

// One ended request. Times in seconds.
struct RequestRecord {
  std::string_view tenant, adapter;  // adapter "" is the base model
  std::string_view outcome;          // "ok", "cancelled", "deadline", "error"
  int prompt_tokens = 0, generated_tokens = 0;
  std::optional<int> cached_tokens{};  // of the prompt, in the prefix cache; none: it was not asked
  double total = 0, queue = 0, prefill = 0, decode = 0;
  std::optional<double> time_to_first_token{};
};

// Thread-safe. Label values are bounded: beyond the first `max_label_values` tenants or adapters a series is
// labelled "other".
class Metrics {
 public:
  explicit Metrics(size_t max_label_values = 200);
  ~Metrics();

  // Requests.
  void RequestFinished(const RequestRecord& record);
  void InterToken(double seconds, int count = 1);  // time between two tokens of a sequence
  void Rejected(std::string_view reason);  // "queue_full", "rate", "concurrency", "auth", "draining", ...
  void SetRequests(int running, int waiting);
  void SetUnreadOutput(uint64_t bytes);  // that wait for their readers, in memory
  void ReadersEnded(int64_t count);      // answers that were ended because they were not read

  // Adapters.
  void AdapterLoad(std::string_view result, double seconds);  // "ok" or "error"
  void AdapterEvicted(std::string_view reason);  // "device_memory", "host_memory": the tier that was full
  // "disk", "host" or "device", and "available", "loading", ...
  void SetAdapters(std::string_view tier, std::string_view state, int count);
  void SetAdapterBytes(std::string_view tier, uint64_t bytes);
  void AdapterGone(std::string_view name);  // removes its series
  // An ended request drew its tokens through a routed adapter. `expert_tokens` says how they were shared out
  // among the experts, which are called by their names or else by their numbers; `entropy` is the mean
  // entropy of the routers, 0 to 1, if they had a say. The first kMaxExperts experts have a line each, the
  // others one.
  void Routed(std::string_view adapter, std::span<const double> expert_tokens, std::optional<double> entropy,
              std::span<const std::string> names = {});
  static constexpr size_t kMaxExperts = 64;

  // The engine.
  void SetKvBlocks(int used, int free);
  void Step(std::string_view phase, double seconds, int rows,
            int distinct_adapters);  // "prefill", "decode", "mixed"
  void Preempted();
  void SetPrefixBlocks(int count);    // of the KV cache that can be found again
  void PrefixEvicted();               // one of them is used for something else
  void StepFailed(bool device_lost);  // for an error of the device, which may be lost with it

  // Sets the series of the Gateway API inference extension: the adapters of running and of waiting requests,
  // separated by commas.
  void SetLoraInfo(int max_lora, std::string_view running, std::string_view waiting, double unix_seconds);

  // Connections of a listener ("inference", "admin"). A refused one was closed before gRPC heard of it,
  // because of "total", "peer", "silent", "not_http2", "not_tls" or "no_descriptors". A failure is named as
  // the system names it.
  void SetConnections(std::string_view listener, int open);
  void ConnectionRefused(std::string_view listener, std::string_view reason);
  void AcceptFailed(std::string_view listener, std::string_view error);
  void SetListenerAnswers(std::string_view listener, bool answers);

  // The process.
  void SetHeartbeatAge(double seconds);  // since the scheduler's loop last came round
  void ConfigReloaded(bool ok);

  // Sets what runs here, as the labels of one line whose value is 1. A second call replaces it.
  void SetBuildInfo(std::string_view version, std::string_view device, std::string_view model);

  // `read` is called at every scrape, on the exporter's threads. What it does not tell has no series.
  void SetDeviceReader(std::function<DeviceReading()> read);

  // All series, for whoever writes them out. It may outlive this.
  std::shared_ptr<prometheus::Collectable> collectable() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_METRICS_METRICS_H_
