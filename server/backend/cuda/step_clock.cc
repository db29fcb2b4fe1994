#include "server/backend/cuda/step_clock.h"

#include <algorithm>

namespace hydrad {

StepClock::StepClock() : ended_{MakeEvent(), MakeEvent(), MakeEvent(), MakeEvent()} {}

void StepClock::Begin() {
  MutexLock lock(&mu_);
  ++begun_;
}

void StepClock::End(cudaStream_t stream) {
  MutexLock lock(&mu_);
  launched_ = begun_;
  HYDRAD_CUDA_CHECK(cudaEventRecord(ended_[launched_ % kRing].get(), stream));
}

int64_t StepClock::begun() const {
  MutexLock lock(&mu_);
  return begun_;
}

int64_t StepClock::Finished() {
  MutexLock lock(&mu_);
  const int64_t oldest = std::max(finished_, launched_ - kRing);
  for (int64_t step = launched_; step > oldest; --step) {
    const cudaError_t state = cudaEventQuery(ended_[step % kRing].get());
    if (state == cudaSuccess) {
      finished_ = step;
      break;
    }
    if (state != cudaErrorNotReady) HYDRAD_CUDA_CHECK(state);
  }
  return finished_;
}

// The step's event may have been recorded again by a later one: then more is waited for than need be.
void StepClock::Await(int64_t step) {
  {
    MutexLock lock(&mu_);
    mu_.Await([&]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return launched_ >= step; });
    if (finished_ >= step) return;
  }
  HYDRAD_CUDA_CHECK(cudaEventSynchronize(ended_[step % kRing].get()));
  MutexLock lock(&mu_);
  finished_ = std::max(finished_, step);
}

}  // namespace hydrad
