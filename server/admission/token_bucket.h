// A rate with a burst.
#ifndef HYDRAD_SERVER_ADMISSION_TOKEN_BUCKET_H_
#define HYDRAD_SERVER_ADMISSION_TOKEN_BUCKET_H_

#include <algorithm>

#include "server/base/clock.h"

namespace hydrad {

// A token bucket kept as one time: when it would be full again. A token is one interval of it, so that
// nothing is lost to rounding and the time until the next token is a subtraction. One thread at a time.
class TokenBucket {
 public:
  // A new bucket is full. With `per_second` 0 there is no limit.
  TokenBucket(double per_second, int burst)
      : limited_(per_second > 0),
        interval_(limited_ ? static_cast<int64_t>(1e9 / per_second) : 0),
        size_(interval_ * burst) {}

  // Returns how long it takes until a token is there; zero if one is.
  Duration Wait(TimePoint now) const {
    if (!limited_) return {};
    return std::max(Duration{}, std::max(full_, now) + interval_ - size_ - now);
  }
  // Returns how many tokens are there. REQUIRES: there is a limit.
  int Left(TimePoint now) const { return static_cast<int>((size_ - UntilFull(now)) / interval_); }
  Duration UntilFull(TimePoint now) const { return std::max(Duration{}, full_ - now); }
  // REQUIRES: Wait(now) is zero.
  void Take(TimePoint now) { full_ = std::max(full_, now) + interval_; }

 private:
  bool limited_;
  Duration interval_, size_;
  TimePoint full_{};
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_ADMISSION_TOKEN_BUCKET_H_
