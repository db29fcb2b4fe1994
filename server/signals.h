// SIGTERM and SIGINT as something that a thread can wait for.
#ifndef HYDRAD_SERVER_SIGNALS_H_
#define HYDRAD_SERVER_SIGNALS_H_

#include <csignal>
#include <thread>

#include "server/base/clock.h"
#include "server/base/mutex.h"

namespace hydrad {

// The first signal asks to end, the second ends the process at once, with code 128 + its number.
class Signals {
 public:
  // Blocks the signals for the calling thread and for every thread started after: make one before any other
  // thread.
  Signals();
  ~Signals();

  // Waits for the first signal and returns its number.
  int AwaitFirst();
  // Waits for `limit`, which only a second signal cuts short (by ending the process).
  void Linger(Duration limit);

 private:
  void Run();

  sigset_t set_;
  Mutex mu_;
  int first_ ABSL_GUARDED_BY(mu_) = 0;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  std::thread thread_;  // last: it uses the rest
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_SIGNALS_H_
