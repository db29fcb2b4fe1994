#include "server/backend/cuda/step_clock.h"

#include <algorithm>

#include "server/backend/device_errors.h"
#include "server/base/status_macros.h"

namespace hydrad {

absl::StatusOr<std::unique_ptr<StepClock>> StepClock::Make() {
  Events ended;
  for (CudaEvent& event : ended) {
    ASSIGN_OR_RETURN(event, MakeEvent());
  }
  return std::unique_ptr<StepClock>(new StepClock(std::move(ended)));
}

void StepClock::Begin() {
  MutexLock lock(&mu_);
  ++begun_;
}

absl::Status StepClock::End(cudaStream_t stream) {
  MutexLock lock(&mu_);
  launched_ = begun_;
  absl::Status recorded =
      CudaStatus(cudaEventRecord(ended_[launched_ % kRing].get(), stream), "marking the end of the step");
  if (recorded.ok()) return recorded;
  recorded = Settle(stream, std::move(recorded));
  if (IsDeviceLost(recorded)) {
    lost_ = recorded;
  } else {
    finished_ = launched_;
  }
  return recorded;
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
    if (state != cudaErrorNotReady) cudaGetLastError();  // who awaits the step will hear of it
  }
  return finished_;
}

// The step's event may have been recorded again by a later one: then more is waited for than need be.
absl::Status StepClock::Await(int64_t step) {
  {
    MutexLock lock(&mu_);
    mu_.Await([&]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return launched_ >= step; });
    if (finished_ >= step) return absl::OkStatus();
    RETURN_IF_ERROR(lost_);
  }
  RETURN_IF_ERROR(CudaStatus(cudaEventSynchronize(ended_[step % kRing].get()), "waiting for a step"));
  MutexLock lock(&mu_);
  finished_ = std::max(finished_, step);
  return absl::OkStatus();
}

}  // namespace hydrad
