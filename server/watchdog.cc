#include "server/watchdog.h"

#include <fmt/core.h>

#include <cstdlib>
#include <utility>

#include "server/base/stderr_text.h"
#include "server/base/thread_name.h"

namespace hydrad {

Watchdog::Watchdog(std::function<std::string()> where)
    : where_(std::move(where)), thread_([this] { Run(); }) {}

Watchdog::~Watchdog() {
  {
    MutexLock lock(&mu_);
    stopping_ = true;
  }
  thread_.join();
}

void Watchdog::Arm(Duration limit) {
  MutexLock lock(&mu_);
  limit_ = limit;
}

void Watchdog::Run() {
  NameThisThread("watchdog");
  MutexLock lock(&mu_);
  mu_.Await([this]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return stopping_ || limit_.has_value(); });
  if (stopping_) return;
  if (mu_.AwaitFor(*limit_, [this]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return stopping_; })) return;
  // Not through the log: whoever is stuck may hold its lock.
  PutToStderr(fmt::format("hydrad: the end has not come within {:g} s, ending at once: stuck in '{}': ",
                          Seconds(*limit_), stage_.load()));
  PutToStderr(where_() + "\n");
  std::_Exit(kExitCode);
}

}  // namespace hydrad
