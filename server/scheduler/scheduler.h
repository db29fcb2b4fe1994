// The loop that owns the model: one thread that takes requests from its inbox, plans a step, runs it and
// hands out the tokens.
//
// What it promises:
// - A request gets what it would get alone, whoever joins, leaves, is cancelled or preempted beside it: draws
//   depend on the sequence, the seed and the number of the token only.
// - Every step mixes decode rows and prompt chunks of any adapters (policy.h says which). Tenants share by
//   weight (fair_share.h); within a tenant, first come, first served.
// - A sequence that loses its blocks to others keeps its tokens and is computed again later.
// - The n choices of a request run the prompt once: the others start when the first one has drawn its first
//   token, from the blocks that the prompt filled. Choices beyond max_running run it again later.
// - A prompt must leave room for one token in the context; max_tokens beyond the context is cut to it, and
//   such a sequence ends as kLength. A sequence that at its longest would not fit into the cache is refused.
// - An adapter that holds several experts has one of them picked from the prompt, which may run the prompt
// once
//   more, on the base model, before (expert_route.h); the request keeps it to its end.
// - A request whose adapter is not on the device waits outside of the batch and without blocks; others pass
//   it. When more adapters are asked for than fit, they take turns (start_gate.h).
// - A NaN in the logits ends that request alone with DATA_LOSS, a stalled sink that request with CANCELLED,
//   and a deadline, waiting or running, with DEADLINE_EXCEEDED.
// - Blocks, adapter and queue place are free before the sink hears OnDone.
#ifndef HYDRAD_SERVER_SCHEDULER_SCHEDULER_H_
#define HYDRAD_SERVER_SCHEDULER_SCHEDULER_H_

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "server/base/clock.h"
#include "server/base/status.h"
#include "server/metrics/metrics.h"
#include "server/model/model.h"
#include "server/scheduler/request.h"
#include "server/text/tokenizer.h"

namespace hydrad {

struct SchedulerOptions {
  int max_running = 128;    // sequences in one step
  int max_waiting = 1024;   // requests not yet started; more are refused
  int prefill_chunk = 256;  // prompt tokens of one step, over all sequences
  // Is told, on the scheduler's thread, the adapters that waiting requests need, most urgent first, whenever
  // that changes. Must not wait.
  std::function<void(const std::vector<std::string>&)> want_adapters{};
  // The scheduler's thread calls this when it has told the sinks all that a step, or the messages before one,
  // had for them. It must not wait.
  std::function<void()> step_done{};
};

// A glance from outside.
struct SchedulerStatus {
  int running = 0, waiting = 0;  // sequences in the batch; requests not yet started
  int kv_blocks_total = 0, kv_blocks_free = 0;
  Duration since_heartbeat{};  // since the loop last came round; it does so at least every second when idle
  bool draining = false;
};

// Submit, Cancel, Wake, Drain and status may be called from any thread; the rest happens on the scheduler's
// own.
class Scheduler {
 public:
  // Everything referred to must outlive the scheduler. Starts the thread.
  Scheduler(const SchedulerOptions& options, Model& model, const Tokenizer& tokenizer, const Clock& clock,
            Metrics& metrics);
  // As Drain(0).
  ~Scheduler();

  // Takes the request, or refuses: RESOURCE_EXHAUSTED (queue full), UNAVAILABLE (draining), INVALID_ARGUMENT
  // (the prompt and max_tokens can never fit). After an OK the sink hears of everything, including errors.
  absl::Status Submit(Request request);

  // Ends the request with `status` (CANCELLED, DEADLINE_EXCEEDED) within two steps; unknown ids are ignored.
  void Cancel(RequestId id, absl::Status status);

  // Something has changed about adapters that requests wait for or run on. Costs next to nothing.
  void Wake();

  // Refuses new requests, lets the running and waiting ones end within `limit`, cancels the rest with
  // UNAVAILABLE, and stops the thread. Waits. Idempotent.
  void Drain(Duration limit);

  SchedulerStatus status() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_SCHEDULER_SCHEDULER_H_
