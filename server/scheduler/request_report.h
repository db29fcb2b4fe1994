// What a request has done, put together for its client and for the metrics.
#ifndef HYDRAD_SERVER_SCHEDULER_REQUEST_REPORT_H_
#define HYDRAD_SERVER_SCHEDULER_REQUEST_REPORT_H_

#include <absl/status/status.h>

#include <span>

#include "server/base/clock.h"
#include "server/metrics/metrics.h"
#include "server/scheduler/batch_builder.h"
#include "server/scheduler/roster.h"
#include "server/scheduler/token_sink.h"

namespace hydrad {

// All functions are for the scheduler thread.

// Adds the gates that a step has recorded to the tallies of its requests. `records` are StepResult::gates for
// the batch of `batch`. REQUIRES: the sequences of the batch have advanced over its rows, and none has
// absorbed a token since.
void TallyGates(const BatchBuilder& batch, std::span<const std::span<const float>> records, Roster& roster);

// Returns what the client is told before the first token. The log-probabilities of the prompt move out of
// `active`.
OutputStart TakeStart(ActiveRequest& active);

// Returns what the request has used until `now`, at which it ends with `status`, and counts it in the
// metrics; a self-test is not counted, and has no routing to tell. A phase that it did not reach took 0.
Usage ReportEnd(const ActiveRequest& ended, const absl::Status& status, TimePoint now, Metrics& metrics);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_SCHEDULER_REQUEST_REPORT_H_
