// Sees to it that an end that was begun comes.
#ifndef HYDRAD_SERVER_WATCHDOG_H_
#define HYDRAD_SERVER_WATCHDOG_H_

#include <atomic>
#include <functional>
#include <optional>
#include <string>
#include <thread>

#include "server/base/clock.h"
#include "server/base/mutex.h"

namespace hydrad {

// Once armed, it ends the process when the limit has passed, with kExitCode and a line on stderr that says in
// which stage of its end it was, and where. Its thread is there from the beginning: none may be had later.
// Thread-safe.
class Watchdog {
 public:
  static constexpr int kExitCode = 124;

  // `where` tells what is stuck, on the watchdog's thread.
  explicit Watchdog(std::function<std::string()> where);
  ~Watchdog();

  void Arm(Duration limit);
  // What is being waited for from here on. REQUIRES: a literal.
  void Enter(const char* stage) { stage_ = stage; }

 private:
  void Run();

  const std::function<std::string()> where_;
  std::atomic<const char*> stage_ = "start";
  Mutex mu_;
  std::optional<Duration> limit_ ABSL_GUARDED_BY(mu_);
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  std::thread thread_;  // last: it uses the rest
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_WATCHDOG_H_
