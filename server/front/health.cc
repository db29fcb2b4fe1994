#include "server/front/health.h"

#include <optional>
#include <utility>

#include "server/base/thread_name.h"

namespace hydrad {

Health Judge(const SchedulerStatus& status, bool draining, bool reachable, Duration heartbeat_limit) {
  const bool live = reachable && status.since_heartbeat <= heartbeat_limit;
  return {.live = live, .ready = live && !draining && !status.draining};
}

HealthMonitor::HealthMonitor(HealthOptions options, std::function<SchedulerStatus()> status,
                             std::function<bool()> reachable, std::function<void(Health)> publish,
                             std::function<void()> tick)
    : options_(options),
      status_(std::move(status)),
      reachable_(std::move(reachable)),
      publish_(std::move(publish)),
      tick_(std::move(tick)),
      thread_([this] { Run(); }) {}

HealthMonitor::~HealthMonitor() {
  {
    MutexLock lock(&mu_);
    stopping_ = true;
  }
  thread_.join();
}

Health HealthMonitor::health() const {
  MutexLock lock(&mu_);
  return published_;
}

void HealthMonitor::SetDraining() {
  MutexLock lock(&mu_);
  draining_ = true;
}

void HealthMonitor::Run() {
  NameThisThread("health");
  std::optional<Health> published;
  bool draining = false;
  for (;;) {
    const Health health = Judge(status_(), draining, reachable_(), options_.heartbeat_limit);
    if (health != published) publish_(health);
    published = health;
    tick_();
    MutexLock lock(&mu_);
    published_ = health;
    mu_.AwaitFor(options_.interval,
                 [&]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return stopping_ || draining_ != draining; });
    if (stopping_ && draining == draining_) return;
    draining = draining_;
  }
}

}  // namespace hydrad
