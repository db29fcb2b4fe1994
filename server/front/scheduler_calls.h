// What a front end asks of the scheduler, as three functions: so that a front end can be run against any
// answer a scheduler may give.
#ifndef HYDRAD_SERVER_FRONT_SCHEDULER_CALLS_H_
#define HYDRAD_SERVER_FRONT_SCHEDULER_CALLS_H_

#include <functional>
#include <utility>

#include "server/scheduler/request.h"
#include "server/scheduler/scheduler.h"

namespace hydrad {

// Each may be called from any thread, and keeps the promises of Scheduler's method of its name.
struct SchedulerCalls {
  std::function<absl::Status(Request)> submit;
  std::function<void(RequestId, absl::Status)> cancel;
  std::function<SchedulerStatus()> status;
};

// `scheduler` must outlive the calls.
inline SchedulerCalls CallsOf(Scheduler& scheduler) {
  return {.submit = [&scheduler](Request request) { return scheduler.Submit(std::move(request)); },
          .cancel = [&scheduler](RequestId id, absl::Status why) { scheduler.Cancel(id, std::move(why)); },
          .status = [&scheduler] { return scheduler.status(); }};
}

}  // namespace hydrad

#endif  // HYDRAD_SERVER_FRONT_SCHEDULER_CALLS_H_
