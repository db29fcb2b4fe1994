// SIGTERM and SIGINT as something that a thread can wait for.
#ifndef HYDRAD_SERVER_SIGNALS_H_
#define HYDRAD_SERVER_SIGNALS_H_

#include <csignal>
#include <thread>

#include "server/base/clock.h"
#include "server/base/mutex.h"

namespace hydrad {

// The first signal asks to end, the second ends the process at once, with code 128 + its number. Until Arm
// every signal ends it at once: while rooms are being built there is nothing to drain, and loading a model
// may take long. A reader of our log or a client that goes away (SIGPIPE) never ends it.
class Signals {
 public:
  // Blocks the signals for the calling thread and for every thread started after: make one before any other
  // thread.
  Signals();
  ~Signals();

  void Arm();
  // Waits for the first signal after Arm and returns its number.
  int AwaitFirst();
  // Waits for `limit`, which only a second signal cuts short (by ending the process).
  void Linger(Duration limit);

 private:
  void Run();

  sigset_t set_;
  Mutex mu_;
  int first_ ABSL_GUARDED_BY(mu_) = 0;
  bool armed_ ABSL_GUARDED_BY(mu_) = false;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  std::thread thread_;  // last: it uses the rest
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_SIGNALS_H_
