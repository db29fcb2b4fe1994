// What the two launches of a LoRA plan (LoraShrink, LoraExpand) hand each other, as wide as the widest
// adapter that is loaded.
#ifndef HYDRAD_SERVER_BACKEND_CUDA_LORA_SCRATCH_H_
#define HYDRAD_SERVER_BACKEND_CUDA_LORA_SCRATCH_H_

#include <memory>
#include <vector>

#include "kernels/cuda/kernels.h"
#include "server/backend/cuda/device_adapter.h"
#include "server/backend/cuda/device_memory.h"

namespace hydrad {

// Thread-safe. What it has handed out stays where it is: a step may be using it. Each is at least twice as
// wide as the one before, so all of them together are less than twice the last.
class LoraScratchSpace {
 public:
  // For steps of `rows` rows; `blocks` is what the kernels are launched with.
  LoraScratchSpace(DeviceMemory& memory, Uploader& uploader, int rows, int blocks)
      : memory_(memory), uploader_(uploader), rows_(rows), blocks_(blocks) {}

  // What all spaces take together once an adapter has asked for rows of D or coefficients up to `widest`.
  static size_t BytesAtMost(int rows, int widest);

  // Makes room for such an adapter before it is used: the load that needs it fails when there is none.
  absl::Status WidenFor(const CudaAdapter::Extents& extents);

  // The widest, ready for what is launched on `stream` from now on. For the scheduler thread, after a
  // WidenFor.
  absl::StatusOr<cuda::LoraScratch> Use(cudaStream_t stream);

 private:
  struct Space {
    std::vector<std::unique_ptr<Buffer>> buffers;
    cuda::LoraScratch view;
    CudaEvent zeroed;
    bool awaited = false;
  };
  absl::StatusOr<std::unique_ptr<Space>> Make(int u_stride, int z_stride);

  DeviceMemory& memory_;
  Uploader& uploader_;
  const int rows_, blocks_;
  Mutex mu_;
  std::vector<std::unique_ptr<Space>> spaces_ ABSL_GUARDED_BY(mu_);
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_BACKEND_CUDA_LORA_SCRATCH_H_
