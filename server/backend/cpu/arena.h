// One block of memory for all that an adapter holds.
#ifndef HYDRAD_SERVER_BACKEND_CPU_ARENA_H_
#define HYDRAD_SERVER_BACKEND_CPU_ARENA_H_

#include <cstddef>
#include <new>

namespace hydrad {

// Hands out pieces of one block of memory. Without a block it only adds up what they need, and every piece is
// null.
class Arena {
 public:
  explicit Arena(std::byte* base) : base_(base) {}

  template <class V>
  V* Take(size_t count) {
    const size_t begin = used_;
    used_ += (count * sizeof(V) + 63) / 64 * 64;
    return base_ == nullptr ? nullptr : new (base_ + begin) V[count];
  }
  bool measuring() const { return base_ == nullptr; }
  size_t used() const { return used_; }

 private:
  std::byte* base_;
  size_t used_ = 0;
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_BACKEND_CPU_ARENA_H_
