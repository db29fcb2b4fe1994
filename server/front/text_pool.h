// Work on callers' texts that may take long: parsing, validating, tokenising.
#ifndef HYDRAD_SERVER_FRONT_TEXT_POOL_H_
#define HYDRAD_SERVER_FRONT_TEXT_POOL_H_

#include <absl/status/status.h>

#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "server/base/clock.h"
#include "server/base/mutex.h"

namespace hydrad {

struct TextPoolOptions {
  int threads = 2;
  // What may wait for a thread: jobs and bytes of one tenant, and of all.
  size_t tenant_jobs = 64, tenant_bytes = 16 << 20;
  size_t jobs = 1024, bytes = 64 << 20;
};

struct TextJob {
  size_t bytes = 0;  // that it keeps while it waits
  // Says OK if the job is still wanted; else the job is not done, and `run` is told why. The pool asks when
  // the job's turn has come.
  std::function<absl::Status()> wanted;
  // Does the job, if the status is OK. It is called once, on a thread of the pool or of whoever destroys the
  // pool.
  std::function<void(const absl::Status&)> run;
};

// A few threads that take turns among tenants, however much one of them sends: a tenant has one thread at a
// time, so that another one finds a thread free or soon free. Within a tenant, first come, first served.
// Thread-safe. Destruction ends what waits with UNAVAILABLE.
class TextPool {
 public:
  explicit TextPool(const TextPoolOptions& options);
  ~TextPool();
  TextPool(const TextPool&) = delete;
  TextPool& operator=(const TextPool&) = delete;

  // Takes the job, or refuses it without calling it: RESOURCE_EXHAUSTED when the jobs or bytes that wait, of
  // the tenant or of all, are at their bound.
  absl::Status Submit(std::string_view tenant, TextJob job);

  size_t waiting() const;  // jobs

 private:
  struct Line {
    std::deque<TextJob> jobs;
    size_t bytes = 0;
    bool runs = false;  // a job of it, now
  };
  using Lines = std::map<std::string, Line, std::less<>>;

  // Waits for the next job, and says whose line it is from; nullopt when the pool stops.
  std::optional<TextJob> Next(Lines::iterator* line);
  void Ended(Lines::iterator line);
  Lines::iterator NextLine() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const TextPoolOptions options_;
  mutable Mutex mu_;
  Lines lines_ ABSL_GUARDED_BY(mu_);       // those with a job that waits or runs
  std::string last_ ABSL_GUARDED_BY(mu_);  // whose turn was last
  size_t jobs_ ABSL_GUARDED_BY(mu_) = 0, bytes_ ABSL_GUARDED_BY(mu_) = 0;  // that wait
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  std::vector<std::thread> threads_;  // last: they use the rest
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_FRONT_TEXT_POOL_H_
