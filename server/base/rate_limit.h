// A limit on how often something happens.
#ifndef HYDRAD_SERVER_BASE_RATE_LIMIT_H_
#define HYDRAD_SERVER_BASE_RATE_LIMIT_H_

#include <cstdint>
#include <optional>
#include <utility>

#include "server/base/clock.h"
#include "server/base/mutex.h"

namespace hydrad {

// Lets so many events pass in each second, for records that strangers can cause. Thread-safe; `clock` must
// outlive it.
class RateLimit {
 public:
  RateLimit(int per_second, const Clock& clock) : per_second_(per_second), clock_(clock) {}

  // Returns nullopt for an event that is too many. Otherwise the event passes, and the result is how many did
  // not since the last one that did.
  std::optional<int64_t> Pass() {
    const TimePoint now = clock_.Now();
    MutexLock lock(&mu_);
    if (!window_ || now - *window_ >= std::chrono::seconds(1)) {
      window_ = now;
      passed_ = 0;
    }
    if (passed_ >= per_second_) {
      ++held_back_;
      return std::nullopt;
    }
    ++passed_;
    return std::exchange(held_back_, 0);
  }

 private:
  const int per_second_;
  const Clock& clock_;
  Mutex mu_;
  std::optional<TimePoint> window_ ABSL_GUARDED_BY(mu_);  // start of the present second
  int passed_ ABSL_GUARDED_BY(mu_) = 0;
  int64_t held_back_ ABSL_GUARDED_BY(mu_) = 0;
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_BASE_RATE_LIMIT_H_
