#include "server/backend/cuda/uploader.h"

#include <algorithm>
#include <cstring>

namespace hydrad {

Uploader::Uploader() {
  MutexLock lock(&mu_);
  for (Stage& stage : stages_) HYDRAD_CUDA_CHECK(cudaEventRecord(stage.copied.get(), stream_.get()));
}

void Uploader::Copy(std::byte* to, size_t bytes, size_t grain,
                    absl::FunctionRef<void(size_t begin, size_t count, std::byte* out)> fill) {
  HYDRAD_CHECK(grain > 0 && grain <= kChunk && bytes % grain == 0);
  const size_t chunk = kChunk / grain * grain;
  for (size_t begin = 0; begin < bytes; begin += chunk) {
    const size_t count = std::min(chunk, bytes - begin);
    MutexLock lock(&mu_);
    Stage& stage = stages_[next_++ % stages_.size()];
    HYDRAD_CUDA_CHECK(cudaEventSynchronize(stage.copied.get()));
    fill(begin, count, stage.memory.data());
    HYDRAD_CUDA_CHECK(
        cudaMemcpyAsync(to + begin, stage.memory.data(), count, cudaMemcpyHostToDevice, stream_.get()));
    HYDRAD_CUDA_CHECK(cudaEventRecord(stage.copied.get(), stream_.get()));
  }
}

void Uploader::Copy(std::byte* to, const std::byte* from, size_t bytes) {
  Copy(to, bytes, 1,
       [&](size_t begin, size_t count, std::byte* out) { std::memcpy(out, from + begin, count); });
}

void Uploader::Zero(std::byte* to, size_t bytes) {
  HYDRAD_CUDA_CHECK(cudaMemsetAsync(to, 0, bytes, stream_.get()));
}

void Uploader::Mark(cudaEvent_t event) { HYDRAD_CUDA_CHECK(cudaEventRecord(event, stream_.get())); }

void Uploader::Await() { HYDRAD_CUDA_CHECK(cudaStreamSynchronize(stream_.get())); }

}  // namespace hydrad
