// An adapter's changes to the embedding and to lm_head, in device memory.
#ifndef HYDRAD_SERVER_BACKEND_CUDA_DEVICE_ENDS_H_
#define HYDRAD_SERVER_BACKEND_CUDA_DEVICE_ENDS_H_

#include "kernels/cuda/plan.h"
#include "server/backend/adapter_weights.h"
#include "server/backend/cuda/uploader.h"

namespace hydrad {

// As kernels/cuda/plan.h wants them, for the steps to put rows and weights to.
struct DeviceEnds {
  cuda::VocabularyRun embedding{};  // without rows
  cuda::OwnRows head{};
  const cuda::LoraGroup* head_lora = nullptr;  // one group in device memory; null: none
  int head_down_rows = 0, head_z_cols = 0;     // of that

  bool embeds() const { return embedding.own.count > 0 || embedding.a != nullptr; }
};

// Bytes that UploadEnds will take; 0 where the adapter leaves both alone. Rows that are the same at both ends
// are held once. REQUIRES: the weights fit `shape`.
size_t EndsBytes(const AdapterWeights& weights, const AdapterShape& shape);

// Puts them to `base` [EndsBytes], aligned to AdapterPool::kAlignment. Returns when the last copy is on its
// way. RESOURCE_EXHAUSTED, and errors of the device.
absl::StatusOr<DeviceEnds> UploadEnds(const AdapterWeights& weights, const AdapterShape& shape,
                                      std::byte* base, Uploader& uploader);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_BACKEND_CUDA_DEVICE_ENDS_H_
