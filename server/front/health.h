// Whether the daemon works, judged by the scheduler's heartbeat and by whether every listener answers, not
// only the one that is asked.
#ifndef HYDRAD_SERVER_FRONT_HEALTH_H_
#define HYDRAD_SERVER_FRONT_HEALTH_H_

#include <functional>
#include <thread>

#include "server/base/mutex.h"
#include "server/scheduler/scheduler.h"

namespace hydrad {

struct Health {
  bool live = false;  // the scheduler's loop comes round and the listeners answer: false asks to be restarted
  bool ready = false;  // and takes new requests: false asks to be left alone
  bool operator==(const Health&) const = default;
};

// A pure function. `draining` says that the daemon has been told to end, even if the scheduler does not know
// yet; `reachable` says that its listeners answer.
Health Judge(const SchedulerStatus& status, bool draining, bool reachable, Duration heartbeat_limit);

struct HealthOptions {
  // The loop comes round after every step, so this must exceed the longest step: a full prefill chunk of a
  // large model on a slow machine.
  Duration heartbeat_limit = std::chrono::seconds(30);
  Duration interval = std::chrono::milliseconds(500);  // between two looks
};

// Looks regularly, on a thread of its own, and publishes what has changed. Thread-safe.
class HealthMonitor {
 public:
  // `status`, `reachable` and `tick` are called at every look, `publish` at the first and when the health has
  // changed, all on the monitor's thread.
  HealthMonitor(HealthOptions options, std::function<SchedulerStatus()> status,
                std::function<bool()> reachable, std::function<void(Health)> publish,
                std::function<void()> tick);
  ~HealthMonitor();

  // What was published last; neither live nor ready before that.
  Health health() const;

  // The daemon is not ready from now on. This is published at once, on the monitor's thread, and before the
  // monitor goes.
  void SetDraining();

 private:
  void Run();

  const HealthOptions options_;
  const std::function<SchedulerStatus()> status_;
  const std::function<bool()> reachable_;
  const std::function<void(Health)> publish_;
  const std::function<void()> tick_;
  mutable Mutex mu_;
  Health published_ ABSL_GUARDED_BY(mu_);
  bool draining_ ABSL_GUARDED_BY(mu_) = false;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  std::thread thread_;  // last: it uses the rest
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_FRONT_HEALTH_H_
