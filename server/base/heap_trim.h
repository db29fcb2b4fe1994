// When memory that was freed should go back to the system.
#ifndef HYDRAD_SERVER_BASE_HEAP_TRIM_H_
#define HYDRAD_SERVER_BASE_HEAP_TRIM_H_

#include <algorithm>
#include <cstddef>

#include "server/base/clock.h"

namespace hydrad {

// The allocator keeps what a flood of small pieces left behind, a piece in use on nearly every page or not.
// This sees, from how much is in use, that a flood is over. One thread at a time.
class HeapTrim {
 public:
  static constexpr size_t kFlood = 8 << 20;  // bytes in use, above which it is one
  static constexpr Duration kRest = std::chrono::seconds(5);

  // True: a flood has ebbed to a quarter of its height, and now is a good moment to trim. `in_use` is to be
  // told regularly.
  bool Due(size_t in_use, TimePoint now) {
    peak_ = std::max(peak_, in_use);
    if (peak_ < kFlood || in_use > peak_ / 4 || (last_ != TimePoint{} && now - last_ < kRest)) return false;
    peak_ = in_use;
    last_ = now;
    return true;
  }

 private:
  size_t peak_ = 0;
  TimePoint last_{};
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_BASE_HEAP_TRIM_H_
