#include "server/metrics/metrics.h"

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>

#include <algorithm>

#include "server/base/mutex.h"
#include "server/metrics/device_series.h"
#include "server/metrics/series.h"

namespace hydrad {
namespace {

using prometheus::Counter;
using prometheus::Family;
using prometheus::Gauge;
using prometheus::Histogram;
using Buckets = Histogram::BucketBoundaries;

// Bounds in seconds, about three a decade: a step of a tiny model takes 0.2 ms, a long answer minutes.
const Buckets kShort = {0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5};
const Buckets kLong = {0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5,
                       1,     2,     5,     10,   20,   50,   100, 300, 600};
const Buckets kRows = {1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024};
const Buckets kAdapters = {0, 1, 2, 4, 8, 16, 32, 64, 128, 256};

Family<Counter>& AddCounter(prometheus::Registry& r, const char* name, const char* help) {
  return prometheus::BuildCounter().Name(name).Help(help).Register(r);
}
Family<Gauge>& AddGauge(prometheus::Registry& r, const char* name, const char* help) {
  return prometheus::BuildGauge().Name(name).Help(help).Register(r);
}
Family<Histogram>& AddHistogram(prometheus::Registry& r, const char* name, const char* help) {
  return prometheus::BuildHistogram().Name(name).Help(help).Register(r);
}

// Returns the first `most` names of the list: the label of an info line must not grow with the number of
// adapters.
std::string FirstNames(std::string_view comma_separated, size_t most) {
  size_t end = 0;
  for (size_t i = 0; i < most && end != std::string_view::npos; ++i) {
    end = comma_separated.find(',', i == 0 ? 0 : end + 1);
  }
  return std::string(comma_separated.substr(0, end));
}

}  // namespace

struct Metrics::Impl {
  explicit Impl(size_t max_label_values)
      : max_label_values(max_label_values),
        series(r, max_label_values),
        routed(r, max_label_values, Metrics::kMaxExperts) {}

  const size_t max_label_values;
  const std::shared_ptr<WithDevice> all = std::make_shared<WithDevice>();
  prometheus::Registry& r = all->registry();

  RequestSeries series;
  RoutedSeries routed;
  Family<Counter>& rejected =
      AddCounter(r, "hydrad_rejected_total", "Requests refused at the door, by reason.");
  Counter& cancelled =
      AddCounter(r, "hydrad_cancelled_total", "Requests ended by their client or by a stalled reader.")
          .Add({});
  Gauge& unread_output = AddGauge(r, "hydrad_unread_output_bytes",
                                  "Memory of answers, or parts of them, that their readers have not taken.")
                             .Add({});
  Counter& readers_ended =
      AddCounter(r, "hydrad_stalled_readers_total", "Answers ended because their readers did not take them.")
          .Add({});
  Gauge& running = AddGauge(r, "hydrad_requests_running", "Sequences in the batch of the last step.").Add({});
  Gauge& waiting = AddGauge(r, "hydrad_requests_waiting", "Requests admitted but not yet started.").Add({});
  Histogram& first_token = AddHistogram(r, "hydrad_time_to_first_token_seconds",
                                        "Time from a request's arrival to its first token.")
                               .Add({}, kLong);
  Histogram& inter_token =
      AddHistogram(r, "hydrad_inter_token_latency_seconds", "Time between two tokens of one sequence.")
          .Add({}, kShort);
  Histogram& request_duration =
      AddHistogram(r, "hydrad_request_duration_seconds", "Time from a request's arrival to its end.")
          .Add({}, kLong);
  Histogram& queue_duration =
      AddHistogram(r, "hydrad_queue_duration_seconds", "Time a request waited to be started.").Add({}, kLong);
  Histogram& prefill_duration =
      AddHistogram(r, "hydrad_prefill_duration_seconds", "Time from a request's start to its first token.")
          .Add({}, kLong);
  Histogram& decode_duration =
      AddHistogram(r, "hydrad_decode_duration_seconds", "Time from a request's first token to its end.")
          .Add({}, kLong);

  Family<Gauge>& adapters =
      AddGauge(r, "hydrad_adapters", "Adapter names, by the tier that their weights are in and by state.");
  Family<Gauge>& adapter_bytes = AddGauge(r, "hydrad_adapter_bytes", "Bytes taken by adapters, by tier.");
  Family<Counter>& loads =
      AddCounter(r, "hydrad_adapter_loads_total",
                 "Loads of adapters, by operators or to the device for requests, that ended, by result.");
  Histogram& load_duration =
      AddHistogram(r, "hydrad_adapter_load_duration_seconds", "Time an adapter load took, successful or not.")
          .Add({}, kLong);
  Family<Counter>& evictions =
      AddCounter(r, "hydrad_adapter_evictions_total",
                 "Adapters moved out of a tier, by reason: the memory that was full.");

  Family<Gauge>& kv_blocks = AddGauge(r, "hydrad_kv_blocks", "Blocks of the KV cache, by state.");
  Gauge& kv_used = kv_blocks.Add({{"state", "used"}});
  Gauge& kv_free = kv_blocks.Add({{"state", "free"}});
  Gauge& kv_usage =
      AddGauge(r, "hydrad_kv_cache_usage_ratio", "Share of the KV cache's blocks in use, 0 to 1.").Add({});
  Family<Histogram>& step_duration = AddHistogram(
      r, "hydrad_step_duration_seconds", "Time of one step of the engine, by what was in its batch.");
  Histogram& batch_size = AddHistogram(r, "hydrad_batch_size", "Rows (tokens) of one step.").Add({}, kRows);
  Histogram& batch_adapters =
      AddHistogram(r, "hydrad_batch_distinct_adapters", "Different adapter generations in one step.")
          .Add({}, kAdapters);
  Counter& preemptions = AddCounter(r, "hydrad_preemptions_total",
                                    "Sequences put back to the queue because the KV cache was full.")
                             .Add({});
  Gauge& prefix_blocks = AddGauge(r, "hydrad_prefix_cache_blocks",
                                  "Blocks of the KV cache, used or free, whose prefix can be found again.")
                             .Add({});
  Counter& prefix_evictions = AddCounter(r, "hydrad_prefix_cache_evictions_total",
                                         "Blocks of the prefix cache that were needed for something else.")
                                  .Add({});
  Family<Counter>& device_errors =
      AddCounter(r, "hydrad_device_errors_total",
                 "Steps that the device failed, by what was lost with them: the step alone, or the device.");
  Counter& steps_lost = device_errors.Add({{"lost", "step"}});
  Counter& devices_lost = device_errors.Add({{"lost", "device"}});

  Family<Gauge>& connections = AddGauge(r, "hydrad_connections", "Open connections, by listener.");
  Family<Counter>& refused_connections =
      AddCounter(r, "hydrad_connections_refused_total",
                 "Connections closed before they were served, by listener and reason.");
  Family<Counter>& accept_failures =
      AddCounter(r, "hydrad_accept_failures_total",
                 "Failures of the system to accept a connection, by listener and error.");
  Family<Gauge>& listener_answers =
      AddGauge(r, "hydrad_listener_answers",
               "1: the listener answered the daemon's own last health check, 0: it did not.");

  Gauge& heartbeat_age =
      AddGauge(r, "hydrad_scheduler_heartbeat_age_seconds",
               "Time since the scheduler's loop last came round; it does at least every second.")
          .Add({});
  Gauge& reload_ok = AddGauge(r, "hydrad_config_last_reload_successful",
                              "1: what was last read of the configuration is in force, 0: it was refused.")
                         .Add({});
  Family<Counter>& reloads =
      AddCounter(r, "hydrad_config_reloads_total", "Reloads of the configuration (SIGHUP), by result.");

  Family<Gauge>& lora_info = AddGauge(r, "hydrad_lora_requests_info",
                                      "Adapters of running and waiting requests, comma-separated; the value "
                                      "is the Unix time of the last change.");
  Family<Gauge>& build =
      AddGauge(r, "hydrad_build_info", "Version, device and base model; the value is always 1.");

  Mutex mu;  // over the replacement of the two lines below
  Gauge* lora_line ABSL_GUARDED_BY(mu) = nullptr;
  Gauge* build_line ABSL_GUARDED_BY(mu) = nullptr;
};

Metrics::Metrics(size_t max_label_values) : impl_(std::make_unique<Impl>(max_label_values)) {
  impl_->reload_ok.Set(1);
}
Metrics::~Metrics() = default;

void Metrics::RequestFinished(const RequestRecord& record) {
  impl_->series.Count(record.tenant, record.adapter, record.outcome, record.prompt_tokens,
                      record.generated_tokens, record.cached_tokens);
  if (record.outcome == "cancelled") impl_->cancelled.Increment();
  impl_->request_duration.Observe(record.total);
  impl_->queue_duration.Observe(record.queue);
  if (!record.time_to_first_token) return;  // never got so far: its zeros would drag the histograms down
  impl_->first_token.Observe(*record.time_to_first_token);
  impl_->prefill_duration.Observe(record.prefill);
  impl_->decode_duration.Observe(record.decode);
}

void Metrics::InterToken(double seconds, int count) {
  for (int i = 0; i < count; ++i) impl_->inter_token.Observe(seconds);
}

void Metrics::Rejected(std::string_view reason) {
  impl_->rejected.Add({{"reason", std::string(reason)}}).Increment();
}

void Metrics::SetRequests(int running, int waiting) {
  impl_->running.Set(running);
  impl_->waiting.Set(waiting);
}

void Metrics::SetUnreadOutput(uint64_t bytes) { impl_->unread_output.Set(static_cast<double>(bytes)); }

void Metrics::ReadersEnded(int64_t count) { impl_->readers_ended.Increment(static_cast<double>(count)); }

void Metrics::AdapterLoad(std::string_view result, double seconds) {
  impl_->loads.Add({{"result", std::string(result)}}).Increment();
  impl_->load_duration.Observe(seconds);
}

void Metrics::AdapterEvicted(std::string_view reason) {
  impl_->evictions.Add({{"reason", std::string(reason)}}).Increment();
}

void Metrics::SetAdapters(std::string_view tier, std::string_view state, int count) {
  impl_->adapters.Add({{"tier", std::string(tier)}, {"state", std::string(state)}}).Set(count);
}

void Metrics::SetAdapterBytes(std::string_view tier, uint64_t bytes) {
  impl_->adapter_bytes.Add({{"tier", std::string(tier)}}).Set(static_cast<double>(bytes));
}

void Metrics::AdapterGone(std::string_view name) {
  impl_->series.AdapterGone(name);
  impl_->routed.AdapterGone(name);
}

void Metrics::Routed(std::string_view adapter, std::span<const double> expert_tokens,
                     std::optional<double> entropy, std::span<const std::string> names) {
  impl_->routed.Count(adapter, expert_tokens, entropy, names);
}

void Metrics::SetKvBlocks(int used, int free) {
  impl_->kv_used.Set(used);
  impl_->kv_free.Set(free);
  impl_->kv_usage.Set(used + free > 0 ? static_cast<double>(used) / (used + free) : 0);
}

void Metrics::Step(std::string_view phase, double seconds, int rows, int distinct_adapters) {
  impl_->step_duration.Add({{"phase", std::string(phase)}}, kShort).Observe(seconds);
  impl_->batch_size.Observe(rows);
  impl_->batch_adapters.Observe(distinct_adapters);
}

void Metrics::Preempted() { impl_->preemptions.Increment(); }

void Metrics::SetPrefixBlocks(int count) { impl_->prefix_blocks.Set(count); }

void Metrics::PrefixEvicted() { impl_->prefix_evictions.Increment(); }

void Metrics::StepFailed(bool device_lost) {
  (device_lost ? impl_->devices_lost : impl_->steps_lost).Increment();
}

void Metrics::SetLoraInfo(int max_lora, std::string_view running, std::string_view waiting,
                          double unix_seconds) {
  MutexLock lock(&impl_->mu);
  Gauge& line =
      impl_->lora_info.Add({{"max_lora", std::to_string(max_lora)},
                            {"running_lora_adapters", FirstNames(running, impl_->max_label_values)},
                            {"waiting_lora_adapters", FirstNames(waiting, impl_->max_label_values)}});
  line.Set(unix_seconds);
  if (impl_->lora_line != nullptr && impl_->lora_line != &line) impl_->lora_info.Remove(impl_->lora_line);
  impl_->lora_line = &line;
}

void Metrics::SetConnections(std::string_view listener, int open) {
  impl_->connections.Add({{"listener", std::string(listener)}}).Set(open);
}

void Metrics::ConnectionRefused(std::string_view listener, std::string_view reason) {
  impl_->refused_connections.Add({{"listener", std::string(listener)}, {"reason", std::string(reason)}})
      .Increment();
}

void Metrics::AcceptFailed(std::string_view listener, std::string_view error) {
  impl_->accept_failures.Add({{"listener", std::string(listener)}, {"error", std::string(error)}})
      .Increment();
}

void Metrics::SetListenerAnswers(std::string_view listener, bool answers) {
  impl_->listener_answers.Add({{"listener", std::string(listener)}}).Set(answers ? 1 : 0);
}

void Metrics::SetHeartbeatAge(double seconds) { impl_->heartbeat_age.Set(seconds); }

void Metrics::ConfigReloaded(bool ok) {
  impl_->reload_ok.Set(ok ? 1 : 0);
  impl_->reloads.Add({{"result", ok ? "ok" : "error"}}).Increment();
}

void Metrics::SetBuildInfo(std::string_view version, std::string_view device, std::string_view model) {
  MutexLock lock(&impl_->mu);
  Gauge& line = impl_->build.Add(
      {{"version", std::string(version)}, {"device", std::string(device)}, {"model", std::string(model)}});
  line.Set(1);
  if (impl_->build_line != nullptr && impl_->build_line != &line) impl_->build.Remove(impl_->build_line);
  impl_->build_line = &line;
}

void Metrics::SetDeviceReader(std::function<DeviceReading()> read) { impl_->all->SetReader(std::move(read)); }

std::shared_ptr<prometheus::Collectable> Metrics::collectable() const { return impl_->all; }

}  // namespace hydrad
