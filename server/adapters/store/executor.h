// Runs the room's jobs, which read files, wait for the device and write the journal.
#ifndef HYDRAD_SERVER_ADAPTERS_STORE_EXECUTOR_H_
#define HYDRAD_SERVER_ADAPTERS_STORE_EXECUTOR_H_

#include <absl/functional/any_invocable.h>

#include <deque>
#include <thread>
#include <vector>

#include "server/base/mutex.h"

namespace hydrad {

// Thread-safe.
class Executor {
 public:
  using Job = absl::AnyInvocable<void()>;
  virtual ~Executor() = default;

  // False when too many jobs wait or it has stopped: `job` is dropped. Never waits.
  virtual bool Submit(Job job) = 0;
  // As Submit, but never too many: for jobs whose number is bounded by something else.
  virtual bool Post(Job job) = 0;
  // Takes no more jobs, runs those that wait and returns when the last has ended. Not from a job. Idempotent.
  virtual void Stop() = 0;
};

// Threads behind a bounded queue. Jobs start in the order in which they came, as many at once as there are
// threads.
class ThreadExecutor final : public Executor {
 public:
  // At most `queue` jobs that were submitted wait. Threads may run in the background
  // (server/base/background.h). REQUIRES: threads >= 1.
  ThreadExecutor(int threads, size_t queue, bool in_background = false);
  // As Stop.
  ~ThreadExecutor() override;

  bool Submit(Job job) override { return Push(std::move(job), queue_); }
  bool Post(Job job) override { return Push(std::move(job), SIZE_MAX); }
  void Stop() override;

 private:
  bool Push(Job job, size_t most);
  void Run(bool in_background);

  const size_t queue_;
  Mutex mu_;
  std::deque<Job> jobs_ ABSL_GUARDED_BY(mu_);
  bool stopped_ ABSL_GUARDED_BY(mu_) = false;
  std::vector<std::thread> threads_;  // last: they use the rest
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_ADAPTERS_STORE_EXECUTOR_H_
