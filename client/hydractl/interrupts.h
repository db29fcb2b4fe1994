// Ctrl-C that ends what is going on, and not the program.
#ifndef HYDRAD_CLIENT_HYDRACTL_INTERRUPTS_H_
#define HYDRAD_CLIENT_HYDRACTL_INTERRUPTS_H_

#include <csignal>
#include <functional>
#include <thread>

#include "server/base/mutex.h"

namespace hydrad {

// While one of these lives, SIGINT calls an action on a thread of its own, and reads that it interrupts go
// on. There is at most one at a time. Thread-safe.
class Interrupts {
 public:
  // `otherwise` is called for a SIGINT when nothing else is to be.
  explicit Interrupts(std::function<void()> otherwise);
  ~Interrupts();
  Interrupts(const Interrupts&) = delete;
  Interrupts& operator=(const Interrupts&) = delete;

  // SIGINT calls `action`, until Reset: no call of it is under way when that returns.
  void Set(std::function<void()> action);
  void Reset() { Set(nullptr); }

 private:
  void Run();

  Mutex mu_;
  const std::function<void()> otherwise_;
  std::function<void()> action_ ABSL_GUARDED_BY(mu_);
  struct sigaction before_ {};
  int pipe_[2] = {-1, -1};  // a byte for each signal
  std::thread thread_;      // last: it uses the rest
};

}  // namespace hydrad

#endif  // HYDRAD_CLIENT_HYDRACTL_INTERRUPTS_H_
