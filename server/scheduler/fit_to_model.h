// What fits the model that is to run it: requests, before they are queued, and steps.
#ifndef HYDRAD_SERVER_SCHEDULER_FIT_TO_MODEL_H_
#define HYDRAD_SERVER_SCHEDULER_FIT_TO_MODEL_H_

#include <absl/status/status.h>

#include "server/model/model.h"
#include "server/scheduler/policy.h"
#include "server/scheduler/request.h"
#include "server/scheduler/scheduler.h"

namespace hydrad {

// INVALID_ARGUMENT when the request could never run: no prompt, no choice, tokens outside the vocabulary, a
// prompt that leaves no room for one token in the context, or a longest possible sequence that the cache
// cannot hold. Otherwise cuts max_tokens to what the context leaves (such a sequence ends as kLength) and
// min_tokens to max_tokens. Pure; any thread.
absl::Status FitToModel(int vocab_size, const ModelLimits& limits, Request* request);

// Returns the limits of the steps that the model can run: what the options ask for, cut to what it has room
// for. Of the cache's blocks, one in a hundred is kept as the watermark.
PolicyLimits LimitsOf(const SchedulerOptions& options, const ModelLimits& model);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_SCHEDULER_FIT_TO_MODEL_H_
