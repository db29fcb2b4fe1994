// Tells when something that has failed is tried again.
#ifndef HYDRAD_SERVER_ADAPTERS_STORE_BACKOFF_H_
#define HYDRAD_SERVER_ADAPTERS_STORE_BACKOFF_H_

#include <algorithm>
#include <chrono>

#include "server/base/clock.h"

namespace hydrad {

// The next try may be made soon after the first failure, and after each further one twice as late, up to a
// bound. Success forgets all failures. Not thread-safe.
class Backoff {
 public:
  static constexpr Duration kFirst = std::chrono::milliseconds(100), kLongest = std::chrono::seconds(10);

  // A try has failed. Failures before the next try is due count as one.
  void Failed(TimePoint now) {
    if (Left(now) > Duration{}) return;
    delay_ = std::clamp(2 * delay_, kFirst, kLongest);
    until_ = now + delay_;
  }
  // A try has worked, or there is reason to make the next one at once.
  void Worked() { *this = {}; }

  // Whether the last try failed.
  bool failed() const { return delay_ > Duration{}; }
  // The time until the next try is due; zero: it is.
  Duration Left(TimePoint now) const { return failed() ? std::max(until_ - now, Duration{}) : Duration{}; }

 private:
  Duration delay_{};
  TimePoint until_{};
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_ADAPTERS_STORE_BACKOFF_H_
