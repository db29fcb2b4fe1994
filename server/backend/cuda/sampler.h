// Draws on the device: what a request asks of its draw goes there, only tokens come back.
#ifndef HYDRAD_SERVER_BACKEND_CUDA_SAMPLER_H_
#define HYDRAD_SERVER_BACKEND_CUDA_SAMPLER_H_

#include <memory>
#include <span>
#include <vector>

#include "kernels/cuda/plan.h"
#include "kernels/sampling.h"
#include "server/backend/cuda/cuda_handles.h"
#include "server/backend/cuda/device_memory.h"
#include "server/backend/step.h"
#include "server/backend/tensor.h"

namespace hydrad {

// Owned by the scheduler thread.
class CudaSampler {
 public:
  // For at most `rows` draws at once. RESOURCE_EXHAUSTED.
  static absl::StatusOr<std::unique_ptr<CudaSampler>> Make(DeviceMemory& memory, int rows);

  // Puts the draws and scores of a step on `stream`, as Backend::Sample, for rows of `logits` (f32).
  // REQUIRES: `stream` has run what was put there before.
  absl::Status Begin(Tensor logits, std::span<const Draw> draws, std::span<const ScoreRow> scores,
                     cudaStream_t stream);
  // Once `stream` has run them: what they gave.
  void End(std::span<Sampled> sampled, std::span<Sampled> scored);

 private:
  CudaSampler(DeviceMemory& memory, int max_rows) : memory_(memory), max_rows_(max_rows) {}
  absl::Status GrowInput(int edits);
  absl::Status GrowOutput(int top);
  absl::Status PutMask(std::span<const uint32_t> mask, cudaStream_t stream, cuda::SampleRow* planned);
  absl::Status Launch(Tensor logits, cudaStream_t stream);
  Sampled Take(size_t planned) const;
  size_t InputBytes(size_t edits) const;
  size_t OutputBytes(size_t top) const;

  DeviceMemory& memory_;
  const int max_rows_;
  int max_edits_ = -1;  // of one call; -1: there is no room for any input
  int max_top_ = -1;    // of one row; likewise for output
  std::unique_ptr<Buffer> device_input_, device_output_;
  PinnedBuffer input_, output_;  // rows and edits; results and their most likely tokens
  // A mask for each row of logits; none before the first that is put.
  std::unique_ptr<Buffer> device_masks_;
  PinnedBuffer masks_;
  std::vector<cuda::SampleRow> planned_;  // the draws, and then the scores of which there can be one
  std::vector<bool> scored_;              // [scores] whether it is planned
  int top_ = 0;                           // of any row
  std::vector<cuda::SampleEdit> edits_;
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_BACKEND_CUDA_SAMPLER_H_
