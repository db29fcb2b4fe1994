// Scratch memory of the CPU's kernels.
#ifndef HYDRAD_SERVER_BACKEND_CPU_SCRATCH_H_
#define HYDRAD_SERVER_BACKEND_CPU_SCRATCH_H_

#include <cstddef>
#include <memory>
#include <new>
#include <span>

#include "server/backend/cpu/aligned_buffer.h"

namespace hydrad {

// Grows to the largest call and then stays. Owned by the scheduler thread.
class Scratch {
 public:
  // 64-byte aligned; the contents are unspecified, and what an earlier call returned is not to be used any
  // more. Throws std::bad_alloc where there is no memory: the backend fails its step with that.
  std::span<std::byte> AtLeast(size_t bytes) {
    if (memory_ == nullptr || memory_->bytes() < bytes) {
      memory_.reset();
      auto grown = AlignedBuffer::Allocate(bytes);
      if (!grown.ok()) throw std::bad_alloc();
      memory_ = *std::move(grown);
    }
    Poison(memory_->data(), memory_->bytes());
    return {static_cast<std::byte*>(memory_->data()), memory_->bytes()};
  }

 private:
  std::unique_ptr<AlignedBuffer> memory_;
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_BACKEND_CPU_SCRATCH_H_
