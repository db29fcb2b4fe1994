#include "server/backend/cuda/sampler.h"

#include <algorithm>
#include <cstring>

#include "kernels/cuda/kernels.h"
#include "server/base/check.h"
#include "server/base/status.h"

namespace hydrad {
namespace {

constexpr int kFirstEdits = 4096, kFirstTop = 20;
constexpr char kDrawing[] = "drawing tokens";

}  // namespace

absl::StatusOr<std::unique_ptr<CudaSampler>> CudaSampler::Make(DeviceMemory& memory, int rows) {
  std::unique_ptr<CudaSampler> sampler(new CudaSampler(memory, rows));
  RETURN_IF_ERROR(sampler->GrowInput(kFirstEdits));
  RETURN_IF_ERROR(sampler->GrowOutput(kFirstTop));
  return sampler;
}

size_t CudaSampler::InputBytes(size_t edits) const {
  return max_rows_ * sizeof(cuda::SampleRow) + edits * sizeof(cuda::SampleEdit);
}

size_t CudaSampler::OutputBytes(size_t top) const {
  return max_rows_ * (sizeof(cuda::SampleResult) + top * sizeof(TokenLogprob));
}

absl::Status CudaSampler::GrowInput(int edits) {
  if (edits <= max_edits_) return absl::OkStatus();
  max_edits_ = -1;
  device_input_.reset();
  ASSIGN_OR_RETURN(device_input_, memory_.Allocate(InputBytes(edits), MemoryUse::kScratch));
  ASSIGN_OR_RETURN(input_, PinnedBuffer::Make(InputBytes(edits)));
  max_edits_ = edits;
  return absl::OkStatus();
}

absl::Status CudaSampler::GrowOutput(int top) {
  if (top <= max_top_) return absl::OkStatus();
  max_top_ = -1;
  device_output_.reset();
  ASSIGN_OR_RETURN(device_output_, memory_.Allocate(OutputBytes(top), MemoryUse::kScratch));
  ASSIGN_OR_RETURN(output_, PinnedBuffer::Make(OutputBytes(top)));
  max_top_ = top;
  return absl::OkStatus();
}

absl::Status CudaSampler::Draw(Tensor logits, std::span<const SampleRow> rows, std::span<Sampled> out,
                               cudaStream_t stream) {
  planned_.clear();
  edits_.clear();
  int top = 0;
  for (size_t i = 0; i < rows.size(); ++i) {
    planned_.push_back(cuda::PlanSample(rows[i], static_cast<int>(i), logits.cols, &edits_));
    top = std::max<int>(top, planned_.back().top);
  }
  return Run(logits, top, out, stream);
}

absl::StatusOr<Sampled> CudaSampler::Score(Tensor logits, int32_t token, int top, cudaStream_t stream) {
  if (token < 0) return Sampled{};  // of which no row knows anything; to the kernel it is a draw
  planned_ = {{.row = 0,
               .scored = token,
               .temperature = 1,
               .top_p = 1,
               .min_p = 0,
               .top_k = 0,
               .edit_begin = 0,
               .edit_end = 0,
               .seed = 0,
               .step = 0,
               .top = top}};
  edits_.clear();
  Sampled score;
  RETURN_IF_ERROR(Run(logits, top, {&score, 1}, stream));
  return score;
}

// Of planned_ and edits_, with at most `top` likely tokens. The stream is idle between calls, so that input
// and output can be used again.
absl::Status CudaSampler::Run(Tensor logits, int top, std::span<Sampled> out, cudaStream_t stream) {
  const int count = static_cast<int>(planned_.size()), edits = static_cast<int>(edits_.size());
  HYDRAD_CHECK(logits.dtype == DType::kF32 && count <= max_rows_);
  RETURN_IF_ERROR(GrowInput(edits > max_edits_ ? std::max(2 * edits, kFirstEdits) : edits));
  RETURN_IF_ERROR(GrowOutput(top > max_top_ ? std::max(top, kFirstTop) : top));

  const size_t rows_bytes = max_rows_ * sizeof(cuda::SampleRow);
  std::memcpy(input_.data(), planned_.data(), planned_.size() * sizeof(cuda::SampleRow));
  if (edits > 0)
    std::memcpy(input_.data() + rows_bytes, edits_.data(), edits_.size() * sizeof(cuda::SampleEdit));
  auto* in = static_cast<std::byte*>(device_input_->data());
  RETURN_IF_ERROR(CudaStatus(
      cudaMemcpyAsync(in, input_.data(), InputBytes(edits), cudaMemcpyHostToDevice, stream), kDrawing));
  auto* results = static_cast<cuda::SampleResult*>(device_output_->data());
  auto* likely = reinterpret_cast<TokenLogprob*>(results + max_rows_);
  RETURN_IF_ERROR(CudaStatus(
      cuda::Sample({static_cast<float*>(logits.data), logits.rows, logits.cols, logits.stride},
                   reinterpret_cast<const cuda::SampleRow*>(in), count,
                   reinterpret_cast<cuda::SampleEdit*>(in + rows_bytes), results, likely, max_top_, stream),
      kDrawing));
  const size_t bytes = top == 0 ? count * sizeof(cuda::SampleResult) : OutputBytes(max_top_);
  RETURN_IF_ERROR(
      CudaStatus(cudaMemcpyAsync(output_.data(), results, bytes, cudaMemcpyDeviceToHost, stream), kDrawing));
  RETURN_IF_ERROR(CudaStatus(cudaStreamSynchronize(stream), kDrawing));

  const auto* drawn = reinterpret_cast<const cuda::SampleResult*>(output_.data());
  const auto* drawn_top = reinterpret_cast<const TokenLogprob*>(drawn + max_rows_);
  for (int i = 0; i < count; ++i) {
    const TokenLogprob* begin = drawn_top + static_cast<size_t>(i) * max_top_;
    out[i] = {drawn[i].token, drawn[i].logprob, {begin, begin + (top == 0 ? 0 : drawn[i].top_count)}};
  }
  return absl::OkStatus();
}

}  // namespace hydrad
