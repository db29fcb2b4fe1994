// Signals as something that a thread can wait for.
#ifndef HYDRAD_SERVER_SIGNALS_H_
#define HYDRAD_SERVER_SIGNALS_H_

#include <csignal>
#include <thread>

#include "server/base/clock.h"
#include "server/base/mutex.h"

namespace hydrad {

// SIGTERM, SIGINT and SIGQUIT ask to end: the first drains, the second ends the process at once, with code
// 128 + its number. Until Arm every one of them ends it at once: while rooms are being built there is nothing
// to drain, and loading a model may take long. SIGHUP asks to read the configuration again; before Arm it
// waits. No other signal ends the process, but for SIGKILL and those of a crash: a timer's, a terminal's, or
// one that somebody else's tool sends (SIGUSR1, ...) is ignored, as is a reader of our log or a client that
// goes away (SIGPIPE). The program asks to end by End, which counts as the first.
class Signals {
 public:
  // Blocks the signals for the calling thread and for every thread started after: make one before any other
  // thread.
  Signals();
  ~Signals();

  void Arm();
  // What AwaitNext returns where it was not a signal that asked to end.
  static constexpr int kOwnEnd = -1;
  // Asks to end. Any thread may call it.
  void End();
  // Waits for the next thing to do: SIGHUP, or the number of the signal that asks to end, from then on
  // always.
  int AwaitNext();
  // Waits for `limit`, which only a second signal cuts short (by ending the process).
  void Linger(Duration limit);

 private:
  void Run();

  sigset_t set_;
  Mutex mu_;
  int end_ ABSL_GUARDED_BY(mu_) = 0;  // the number of the first that asked to end
  bool reload_ ABSL_GUARDED_BY(mu_) = false;
  bool armed_ ABSL_GUARDED_BY(mu_) = false;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  std::thread thread_;  // last: it uses the rest
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_SIGNALS_H_
