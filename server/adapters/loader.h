// The threads that read adapters, behind a bounded queue.
#ifndef HYDRAD_SERVER_ADAPTERS_LOADER_H_
#define HYDRAD_SERVER_ADAPTERS_LOADER_H_

#include <absl/functional/any_invocable.h>

#include <deque>
#include <thread>
#include <vector>

#include "server/base/mutex.h"

namespace hydrad {

// Thread-safe. Jobs start in the order in which they were submitted, as many at once as there are threads.
class Loader {
 public:
  using Job = absl::AnyInvocable<void()>;

  // At most `queue` jobs wait. REQUIRES: threads >= 1.
  Loader(int threads, size_t queue);
  // As Stop.
  ~Loader();

  // False when the queue is full or the loader stopped: `job` is dropped. Never waits.
  bool Submit(Job job);
  // Takes no more jobs, runs those that wait and returns when the last has ended. Not from a job.
  void Stop();

 private:
  void Run();

  const size_t queue_;
  Mutex mu_;
  std::deque<Job> jobs_ ABSL_GUARDED_BY(mu_);
  bool stopped_ ABSL_GUARDED_BY(mu_) = false;
  std::vector<std::thread> threads_;  // last: they use the rest
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_ADAPTERS_LOADER_H_
