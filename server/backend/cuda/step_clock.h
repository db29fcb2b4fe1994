// Which steps the device has finished, so that what a step may still be reading is not given to anybody else.
#ifndef HYDRAD_SERVER_BACKEND_CUDA_STEP_CLOCK_H_
#define HYDRAD_SERVER_BACKEND_CUDA_STEP_CLOCK_H_

#include <array>
#include <cstdint>
#include <memory>

#include "server/backend/cuda/cuda_handles.h"
#include "server/base/mutex.h"

namespace hydrad {

// Steps have the numbers 1, 2, ... Begin and End are for the scheduler thread, the rest for any.
class StepClock {
 public:
  static absl::StatusOr<std::unique_ptr<StepClock>> Make();

  // Another step: what is let go from now on may be used by it. Its End follows, however the step goes.
  void Begin();
  // All of the step has been launched on `stream`. On an error the step is over, or the device is lost.
  absl::Status End(cudaStream_t stream);

  int64_t begun() const;  // the step that was begun last
  // The last step that is known to be over. Never waits.
  int64_t Finished();
  // Returns when step `step`, which has been begun, is over; an error when that cannot be known.
  absl::Status Await(int64_t step);

 private:
  static constexpr int kRing = 4;  // steps whose events are told apart
  using Events = std::array<CudaEvent, kRing>;

  explicit StepClock(Events ended) : ended_(std::move(ended)) {}

  mutable Mutex mu_;
  const Events ended_;  // step n records ended_[n % kRing]
  int64_t begun_ ABSL_GUARDED_BY(mu_) = 0;
  int64_t launched_ ABSL_GUARDED_BY(mu_) = 0;
  int64_t finished_ ABSL_GUARDED_BY(mu_) = 0;
  absl::Status lost_ ABSL_GUARDED_BY(mu_);  // why no step will be known to be over any more
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_BACKEND_CUDA_STEP_CLOCK_H_
