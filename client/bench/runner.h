// Runs a benchmark: sends requests at their time, or keeps a number of them running, and times what comes
// back. Knows neither gRPC nor the real time; the tests give it a fake of each.
#ifndef HYDRAD_CLIENT_BENCH_RUNNER_H_
#define HYDRAD_CLIENT_BENCH_RUNNER_H_

#include <absl/status/status.h>

#include <functional>
#include <vector>

#include "client/bench/load_plan.h"
#include "client/bench/report.h"
#include "server/base/clock.h"

namespace hydrad {

// Where the requests go. Thread-safe.
class BenchTarget {
 public:
  // What happens to a request: on any thread, but never two at once for one request; nothing after `on_done`.
  struct Events {
    std::function<void(int choice, int tokens)> on_tokens;
    std::function<void(absl::StatusCode code, int prompt_tokens, int generated_tokens)> on_done;
  };
  virtual ~BenchTarget() = default;
  // Sends `request` and returns at once.
  virtual void Start(const BenchRequest& request, Events events) = 0;
};

// Time that can be waited for. Thread-safe.
class Pacer : public Clock {
 public:
  virtual void WaitUntil(TimePoint time) = 0;
};
// The machine's.
Pacer& RealPacer();

// How much is sent. Exactly one of `rate` and `concurrency` is set; the end is the limit that is met first.
struct BenchLoad {
  double rate = 0;       // open loop: Poisson arrivals, so many a second, however slow the server is
  int concurrency = 0;   // closed loop: so many at once, the next when one has ended
  int requests = 0;      // end after so many; 0: no limit
  Duration duration{0};  // no request starts after so long; 0: no limit
  uint64_t seed = 0;     // of the arrivals
};

// What came of it; returns when every request that was sent has ended. REQUIRES: a limit is set.
BenchReport RunBench(const BenchLoad& load, RequestSource& source, BenchTarget& target, Pacer& pacer);

}  // namespace hydrad

#endif  // HYDRAD_CLIENT_BENCH_RUNNER_H_
