// Which steps the device has finished, so that what a step may still be reading is not given to anybody else.
#ifndef HYDRAD_SERVER_BACKEND_CUDA_STEP_CLOCK_H_
#define HYDRAD_SERVER_BACKEND_CUDA_STEP_CLOCK_H_

#include <array>
#include <cstdint>

#include "server/backend/cuda/cuda_handles.h"
#include "server/base/mutex.h"

namespace hydrad {

// Steps have the numbers 1, 2, ... Begin and End are for the scheduler thread, the rest for any.
class StepClock {
 public:
  StepClock();

  void Begin();                   // another step: what is let go from now on may be used by it
  void End(cudaStream_t stream);  // all of the step has been launched on `stream`

  int64_t begun() const;  // the step that was begun last
  // The last step that is known to be over. Never waits.
  int64_t Finished();
  // Returns when step `step`, which has been begun, is over.
  void Await(int64_t step);

 private:
  static constexpr int kRing = 4;  // steps whose events are told apart

  mutable Mutex mu_;
  const std::array<CudaEvent, kRing> ended_;  // step n records ended_[n % kRing]
  int64_t begun_ ABSL_GUARDED_BY(mu_) = 0;
  int64_t launched_ ABSL_GUARDED_BY(mu_) = 0;
  int64_t finished_ ABSL_GUARDED_BY(mu_) = 0;
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_BACKEND_CUDA_STEP_CLOCK_H_
