// Brings to the device what requests wait for and what is pinned.
#ifndef HYDRAD_SERVER_ADAPTERS_STORE_FETCHER_H_
#define HYDRAD_SERVER_ADAPTERS_STORE_FETCHER_H_

#include <absl/status/status.h>

#include <atomic>
#include <functional>

#include "server/adapters/store/adapter_store.h"
#include "server/adapters/store/component_mover.h"
#include "server/adapters/store/executor.h"
#include "server/adapters/store/fetch_queue.h"
#include "server/adapters/store/notifier.h"
#include "server/adapters/store/store_state.h"

namespace hydrad {

// A fetch moves one component up one tier; several run at once, on the executor's threads, in the order in
// which the FetchQueue answers. What comes to the device for the first time is tried there before requests
// run on it. A fetch or a trial that fails ends the claims that wait for it; see StoreState::FailServing.
// Thread-safe.
class Fetcher {
 public:
  // `resume_loads` is called, without a lock held, when host memory may have come free. All must outlive
  // this.
  Fetcher(StoreState& state, Notifier& notifier, ComponentMover& mover, Executor& executor,
          const AdapterStoreOptions& options, std::function<void()> resume_loads)
      : state_(state),
        notifier_(notifier),
        mover_(mover),
        executor_(executor),
        options_(options),
        resume_loads_(std::move(resume_loads)) {}

  // Has an executor's thread settle what is left over, resume loads, and begin the fetches that can be begun.
  // To be called after every change that may allow one, or may have left memory or news behind. Never waits,
  // and may be called with the store's lock held. Calls that come before the thread has looked count as one.
  void Schedule();
  // Schedules when a kept adapter that could not be brought to the device is due to be tried again.
  void RetryKept();

 private:
  // The scheduled job: begins what the queue answers until there is nothing more to begin.
  void StartFetches();
  void StartTrial(const FetchQueue::Trial& trial);
  void RunFetch(Residency::Work work);
  void RunTrial(const FetchQueue::Trial& trial);
  // Fails what serves if the component is still part of that.
  void FetchFailed(ComponentId component, const absl::Status& status)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(state_.mu);

  StoreState& state_;
  Notifier& notifier_;
  ComponentMover& mover_;
  Executor& executor_;
  const AdapterStoreOptions& options_;
  const std::function<void()> resume_loads_;
  std::atomic<bool> scheduled_ = false;
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_ADAPTERS_STORE_FETCHER_H_
