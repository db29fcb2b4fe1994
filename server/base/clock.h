// Time as an interface, so that tests own it.
#ifndef HYDRAD_SERVER_BASE_CLOCK_H_
#define HYDRAD_SERVER_BASE_CLOCK_H_

#include <chrono>

namespace hydrad {

using Duration = std::chrono::nanoseconds;
// Monotonic time since an arbitrary start; it is never wall time.
using TimePoint = std::chrono::time_point<std::chrono::steady_clock, Duration>;

inline double Seconds(Duration d) { return std::chrono::duration<double>(d).count(); }

// Tells the time; tests have one of their own (tests/fakes/fake_clock.h). Thread-safe.
class Clock {
 public:
  virtual ~Clock() = default;
  virtual TimePoint Now() const = 0;
};

// Returns the machine's steady clock, which is one object for the whole process.
inline const Clock& SteadyClock() {
  class Steady final : public Clock {
    TimePoint Now() const override { return std::chrono::steady_clock::now(); }
  };
  static const Steady clock;
  return clock;
}

}  // namespace hydrad

#endif  // HYDRAD_SERVER_BASE_CLOCK_H_
