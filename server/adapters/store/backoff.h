// When what has failed is tried again.
#ifndef HYDRAD_SERVER_ADAPTERS_STORE_BACKOFF_H_
#define HYDRAD_SERVER_ADAPTERS_STORE_BACKOFF_H_

#include <algorithm>
#include <chrono>

#include "server/base/clock.h"

namespace hydrad {

// Soon after the first failure, and after each further one twice as late, up to a bound.
class Backoff {
 public:
  static constexpr Duration kFirst = std::chrono::milliseconds(100), kLongest = std::chrono::seconds(10);

  // Several failures of one try count as one.
  void Failed(TimePoint now) {
    if (Left(now) > Duration{}) return;
    delay_ = std::clamp(2 * delay_, kFirst, kLongest);
    until_ = now + delay_;
  }
  void Worked() { *this = {}; }

  bool failed() const { return delay_ > Duration{}; }
  // Until it is worth trying; zero: now.
  Duration Left(TimePoint now) const { return failed() ? std::max(until_ - now, Duration{}) : Duration{}; }

 private:
  Duration delay_{};
  TimePoint until_{};
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_ADAPTERS_STORE_BACKOFF_H_
