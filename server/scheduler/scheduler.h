// The loop that owns the model: one thread that takes requests from its inbox, plans a step, runs it and
// hands out the tokens.
//
// What it promises:
// - A request gets what it would get alone, whoever joins, leaves, is cancelled or preempted beside it. Draws
//   depend on nothing but the sequence, the seed and the number of the token.
// - Every step mixes decode rows and prompt chunks of any adapters (policy.h says which). Tenants share by
//   weight (fair_share.h). Within a tenant, who comes first is served first.
// - A sequence that loses its blocks to others keeps its tokens and is computed again later.
// - The n choices of a request run the prompt once. When the first one has drawn its first token, the others
//   start from the blocks that the prompt has filled. Choices beyond max_running start from what the prefix
//   cache then has of it.
// - A prompt that begins as an earlier one of the same tenant and adapter did begins with its blocks, as far
//   as they are still there (prefix_cache.h). Nobody can tell by the answer.
// - A prompt must leave room for one token in the context. max_tokens beyond the context is cut to it, and
//   such a sequence ends as kLength. A sequence that at its longest would not fit into the cache is refused.
// - An adapter that holds several experts has one of them picked from the prompt (expert_route.h), for which
//   the prompt may have to run on the base model first. The request keeps the expert to its end.
// - A request whose adapter is not on the device waits outside of the batch and without blocks, and others
//   pass it. When more adapters are asked for than fit, they take turns (start_gate.h).
// - An answer that must have a form draws from the tokens that the form allows next. While these are not
//   known the sequence waits in its place and the others go on (mask_waits.h).
// - A NaN in the logits ends that request alone with DATA_LOSS, and a stalled sink ends its request with
//   CANCELLED. A deadline ends a request with DEADLINE_EXCEEDED, whether it waits or runs.
// - Blocks, adapter and queue place are free before the sink hears OnDone.
#ifndef HYDRAD_SERVER_SCHEDULER_SCHEDULER_H_
#define HYDRAD_SERVER_SCHEDULER_SCHEDULER_H_

#include <absl/status/status.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "server/base/clock.h"
#include "server/metrics/metrics.h"
#include "server/model/model.h"
#include "server/scheduler/request.h"
#include "server/text/tokenizer.h"

namespace hydrad {

struct SchedulerOptions {
  int max_running = 128;     // sequences in one step
  int max_waiting = 1024;    // requests not yet started; more are refused
  int prefill_chunk = 256;   // prompt tokens of one step, over all sequences
  bool prefix_cache = true;  // prompts begin with what earlier requests have computed (prefix_cache.h)
  // The scheduler's thread calls this with the adapters that waiting requests need, the most urgent one
  // first, whenever that changes. It must not wait.
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

// Any thread may call Submit, Cancel, Wake, Drain and status. All the rest happens on the scheduler's own
// thread.
class Scheduler {
 public:
  // Starts the thread. All that is given by reference must outlive the scheduler.
  Scheduler(const SchedulerOptions& options, Model& model, const Tokenizer& tokenizer, const Clock& clock,
            Metrics& metrics);
  // Drains with no time to end in, as Drain(0) does.
  ~Scheduler();

  // Takes the request, or refuses it: with RESOURCE_EXHAUSTED when the queue is full, UNAVAILABLE while it
  // drains, INVALID_ARGUMENT when the prompt and max_tokens can never fit. After an OK the sink hears of
  // everything, errors included.
  absl::Status Submit(Request request);

  // Ends the request with `status` (CANCELLED, DEADLINE_EXCEEDED) within two steps; unknown ids are ignored.
  void Cancel(RequestId id, absl::Status status);

  // Tells that something has changed about adapters that requests wait for or run on. Costs next to nothing.
  void Wake();

  // Refuses new requests, lets the running and waiting ones end within `limit`, cancels the rest with
  // UNAVAILABLE, and stops the thread. Returns when that is done. A second call does nothing more.
  void Drain(Duration limit);

  SchedulerStatus status() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_SCHEDULER_SCHEDULER_H_
