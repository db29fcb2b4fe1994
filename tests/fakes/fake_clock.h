// Time that stands still until a test moves it.
#ifndef HYDRAD_TESTS_FAKES_FAKE_CLOCK_H_
#define HYDRAD_TESTS_FAKES_FAKE_CLOCK_H_

#include <atomic>

#include "server/base/clock.h"

namespace hydrad {

// Thread-safe. Starts an hour after the epoch, so that nothing rests on it being zero.
class FakeClock final : public Clock {
 public:
  TimePoint Now() const override { return TimePoint(Duration(now_.load())); }
  void Advance(Duration d) { now_ += d.count(); }

 private:
  std::atomic<Duration::rep> now_ = Duration(std::chrono::hours(1)).count();
};

}  // namespace hydrad

#endif  // HYDRAD_TESTS_FAKES_FAKE_CLOCK_H_
