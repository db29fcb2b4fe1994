// The loop that owns the model: one thread that takes requests from its inbox, plans a step, runs it and
// hands out the tokens.
#ifndef HYDRAD_SERVER_SCHEDULER_SCHEDULER_H_
#define HYDRAD_SERVER_SCHEDULER_SCHEDULER_H_

#include <memory>

#include "server/base/clock.h"
#include "server/base/status.h"
#include "server/metrics/metrics.h"
#include "server/model/model.h"
#include "server/model/tokenizer.h"
#include "server/scheduler/request.h"

namespace hydrad {

struct SchedulerOptions {
  int max_running = 128;    // sequences in one step
  int max_waiting = 1024;   // requests not yet started; more are refused
  int prefill_chunk = 256;  // prompt tokens of one step, over all sequences
};

// A glance from outside.
struct SchedulerStatus {
  int running = 0, waiting = 0;  // sequences in the batch; requests not yet started
  int kv_blocks_total = 0, kv_blocks_free = 0;
  Duration since_heartbeat{};  // since the loop last came round; it does so at least every second when idle
  bool draining = false;
};

// Submit, Cancel, Drain and status may be called from any thread; the rest happens on the scheduler's own.
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
