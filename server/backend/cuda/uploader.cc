#include "server/backend/cuda/uploader.h"

#include <algorithm>
#include <cstring>

#include "server/base/check.h"
#include "server/base/status_macros.h"

namespace hydrad {
namespace {

constexpr char kCopying[] = "copying to the device";

}  // namespace

absl::StatusOr<std::unique_ptr<Uploader>> Uploader::Make() {
  ASSIGN_OR_RETURN(CudaStream stream, MakeStream());
  std::array<Stage, 2> stages;
  for (Stage& stage : stages) {
    ASSIGN_OR_RETURN(stage.memory, PinnedBuffer::Make(kChunk));
    ASSIGN_OR_RETURN(stage.copied, MakeEvent());
  }
  return std::unique_ptr<Uploader>(new Uploader(std::move(stream), std::move(stages)));
}

absl::Status Uploader::Copy(std::byte* to, size_t bytes, size_t grain,
                            absl::FunctionRef<void(size_t begin, size_t count, std::byte* out)> fill) {
  HYDRAD_CHECK(grain > 0 && grain <= kChunk && bytes % grain == 0);
  const size_t chunk = kChunk / grain * grain;
  for (size_t begin = 0; begin < bytes; begin += chunk) {
    const size_t count = std::min(chunk, bytes - begin);
    MutexLock lock(&mu_);
    const Stage& stage = stages_[next_++ % stages_.size()];
    absl::Status copied = CudaStatus(cudaEventSynchronize(stage.copied.get()), kCopying);
    if (copied.ok()) {
      fill(begin, count, stage.memory.data());
      copied = CopyStage(to + begin, count, stage);
    }
    // The stage may be under way with no event behind it, and chunks before this one are.
    if (!copied.ok()) return Settle(stream_.get(), std::move(copied));
  }
  return absl::OkStatus();
}

absl::Status Uploader::CopyStage(std::byte* to, size_t bytes, const Stage& stage) {
  RETURN_IF_ERROR(CudaStatus(
      cudaMemcpyAsync(to, stage.memory.data(), bytes, cudaMemcpyHostToDevice, stream_.get()), kCopying));
  return CudaStatus(cudaEventRecord(stage.copied.get(), stream_.get()), kCopying);
}

absl::Status Uploader::Copy(std::byte* to, const std::byte* from, size_t bytes) {
  return Copy(to, bytes, 1,
              [&](size_t begin, size_t count, std::byte* out) { std::memcpy(out, from + begin, count); });
}

absl::Status Uploader::Zero(std::byte* to, size_t bytes) {
  return CudaStatus(cudaMemsetAsync(to, 0, bytes, stream_.get()), "zeroing device memory");
}

absl::Status Uploader::Mark(cudaEvent_t event) {
  const absl::Status recorded = CudaStatus(cudaEventRecord(event, stream_.get()), kCopying);
  return recorded.ok() ? recorded : Settle(stream_.get(), recorded);
}

absl::Status Uploader::Await() {
  const absl::Status waited = CudaStatus(cudaStreamSynchronize(stream_.get()), kCopying);
  return waited.ok() ? waited : Settle(stream_.get(), waited);
}

}  // namespace hydrad
