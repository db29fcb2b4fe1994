// When memory that was freed should go back to the system.
#ifndef HYDRAD_SERVER_BASE_HEAP_TRIM_H_
#define HYDRAD_SERVER_BASE_HEAP_TRIM_H_

#include <algorithm>
#include <cstddef>

#include "server/base/clock.h"

namespace hydrad {

// Sees from how much of the heap is in use that a flood of small allocations is over. The allocator keeps the
// memory of a flood for itself, whether its pages are still in use or not. For one thread at a time.
class HeapTrim {
 public:
  static constexpr size_t kFlood = 8 << 20;  // bytes in use that make a flood
  static constexpr Duration kRest = std::chrono::seconds(5);

  // Takes the bytes in use, which the caller tells regularly. Returns true when a flood has ebbed to a
  // quarter of its height, so that now is a good moment to trim.
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
