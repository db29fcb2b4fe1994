#include "server/scheduler/request_report.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

namespace hydrad {
namespace {

const char* Outcome(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kOk:
      return "ok";
    case absl::StatusCode::kCancelled:
      return "cancelled";
    case absl::StatusCode::kDeadlineExceeded:
      return "deadline";
    default:
      return "error";
  }
}

// What an ending request has used. Phases that it did not reach are empty.
Usage UsageOf(const ActiveRequest& active, TimePoint now) {
  Usage usage;
  usage.prompt_tokens = static_cast<int>(active.request.prompt.size());
  usage.cached_tokens = active.cached.value_or(0);
  usage.generated_tokens = active.generated;
  usage.approximate = active.first_token && Approximates(active.request);
  const TimePoint started = active.started.value_or(now), first = active.first_token.value_or(now);
  usage.queue = started - active.request.arrival;
  usage.prefill = first - started;
  usage.decode = now - first;
  return usage;
}

RequestRecord RecordOf(const ActiveRequest& active, const Usage& usage, const absl::Status& status,
                       TimePoint now) {
  RequestRecord record;
  record.tenant = active.request.tenant;
  record.adapter = active.request.adapter.name();
  record.outcome = Outcome(status);
  record.prompt_tokens = usage.prompt_tokens;
  record.generated_tokens = usage.generated_tokens;
  record.cached_tokens = active.cached;
  record.total = Seconds(now - active.request.arrival);
  record.queue = Seconds(usage.queue);
  record.prefill = Seconds(usage.prefill);
  record.decode = Seconds(usage.decode);
  if (active.first_token) record.time_to_first_token = Seconds(*active.first_token - active.request.arrival);
  return record;
}

// Counts what the routers did, and tells the client if it asked.
void ReportGates(const ActiveRequest& active, Metrics& metrics, Usage* usage) {
  for (size_t i = 0; i < active.gates.size(); ++i) {
    const RouterTally& tally = active.gates[i];
    const std::string& adapter = active.request.adapter_at(i).name();
    if (tally.drawn() > 0) metrics.Routed(adapter, tally.expert_tokens(), tally.entropy());
    if (active.request.output.routing && !tally.expert_tokens().empty())
      usage->routing.push_back(tally.Routing(adapter));
  }
}

// Counts the experts that the tokens of a request were generated with.
void ReportRoute(const ActiveRequest& active, Metrics& metrics) {
  if (active.route == nullptr || !active.route->decided() || active.generated == 0) return;
  std::vector<double> tokens = active.route->shares();
  for (double& share : tokens) share *= active.generated;
  const AdapterHandle& adapter = active.request.adapter;
  metrics.Routed(adapter.name(), tokens, active.route->vote_entropy(), adapter.mixture()->names());
}

}  // namespace

void TallyGates(const BatchBuilder& batch, std::span<const std::span<const float>> records, Roster& roster) {
  for (const BatchBuilder::GateUse& use : batch.gate_uses()) {
    ActiveRequest& active = *roster.FindSequence(use.sequence->id()).request;
    const Request& request = active.request;
    if (active.gates.empty()) {
      for (size_t i = 0; i < request.adapters(); ++i) {
        const DeviceAdapter* device = request.adapter_at(i).device();
        active.gates.emplace_back(device != nullptr ? device->gate_places() : std::span<const GatePlace>(),
                                  request.output.routing);
      }
    }
    const std::span<const float> record = records[static_cast<size_t>(use.record)];
    const auto width = static_cast<size_t>(request.adapter_at(use.adapter).device()->gate_count());
    const int last = use.sequence->length() - 1 - use.position;  // the row that is drawn from, if it is here
    for (int r = request.output.routing ? 0 : std::max(0, last); r < use.rows; ++r) {
      const auto gates = record.subspan(static_cast<size_t>(use.row_begin + r) * width, width);
      active.gates[use.adapter].Add(gates, r == last ? use.sequence->choice() : -1);
    }
  }
}

OutputStart TakeStart(ActiveRequest& active) {
  OutputStart start{.prompt_logprobs = std::move(active.prompt_logprobs),
                    .approximate = Approximates(active.request)};
  for (size_t i = 0; i < active.request.adapters(); ++i) {
    start.generations.push_back(active.request.adapter_at(i).generation());
  }
  if (active.route != nullptr) start.route = active.route->taken();
  return start;
}

Usage ReportEnd(const ActiveRequest& ended, const absl::Status& status, TimePoint now, Metrics& metrics) {
  Usage usage = UsageOf(ended, now);
  if (ended.request.self_test) return usage;
  ReportGates(ended, metrics, &usage);
  ReportRoute(ended, metrics);
  metrics.RequestFinished(RecordOf(ended, usage, status, now));
  return usage;
}

}  // namespace hydrad
