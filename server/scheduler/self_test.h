// Whether what is to be served gives numbers: one short pass on the device, before anybody is served by it.
#ifndef HYDRAD_SERVER_SCHEDULER_SELF_TEST_H_
#define HYDRAD_SERVER_SCHEDULER_SELF_TEST_H_

#include <absl/status/status.h>

#include <memory>
#include <vector>

#include "server/adapters/handle.h"
#include "server/base/mutex.h"
#include "server/scheduler/request.h"
#include "server/scheduler/scheduler.h"

namespace hydrad {

// Finite weights can still overflow on their way through the network, and a base model may hold a NaN. A test
// is a request of the daemon's own of a few tokens: it runs in a step with everybody else's, counts in no
// metric and no queue, and waits for a place in the batch when all are taken. Thread-safe; both tests wait
// for the scheduler, so not for its thread.
class SelfTest {
 public:
  // `scheduler` must outlive this, or Close. The others are the model's.
  SelfTest(Scheduler& scheduler, int vocab_size, int max_context)
      : vocab_size_(vocab_size), max_context_(max_context), scheduler_(&scheduler) {}

  // DATA_LOSS: the base model's logits are not finite. UNAVAILABLE: the scheduler is stopping.
  absl::Status Base();
  // Likewise, as INVALID_ARGUMENT, of one generation of an adapter, which is on the device until this
  // returns: with all of its experts, each by itself where it picks one per sequence, and then as its routers
  // vote.
  absl::Status Adapter(const std::shared_ptr<const AdapterGeneration>& generation);

  // Tests end as UNAVAILABLE from now on; those that run end with the scheduler.
  void Close();

 private:
  class Sink;
  Request MakeRequest(const AdapterGeneration* generation) const;
  // The first error of all of them.
  absl::Status Run(std::vector<Request> requests);

  const int vocab_size_, max_context_;
  Mutex mu_;
  Scheduler* scheduler_ ABSL_GUARDED_BY(mu_);  // null: closed
  RequestId last_id_ ABSL_GUARDED_BY(mu_) = RequestId{1} << 63;
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_SCHEDULER_SELF_TEST_H_
