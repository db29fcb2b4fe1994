#include "server/backend/cuda/sampler.h"

#include <algorithm>
#include <cstring>

#include "kernels/cuda/kernels.h"

namespace hydrad {
namespace {

constexpr int kFirstEdits = 4096, kFirstTop = 20;

}  // namespace

absl::StatusOr<std::unique_ptr<CudaSampler>> CudaSampler::Make(DeviceMemory& memory, int rows) {
  std::unique_ptr<CudaSampler> sampler(new CudaSampler(memory, rows));
  RETURN_IF_ERROR(sampler->Grow(kFirstEdits, kFirstTop));
  return sampler;
}

size_t CudaSampler::InputBytes(size_t edits) const {
  return max_rows_ * sizeof(cuda::SampleRow) + edits * sizeof(cuda::SampleEdit);
}

size_t CudaSampler::OutputBytes(size_t top) const {
  return max_rows_ * (sizeof(cuda::SampleResult) + top * sizeof(TokenLogprob));
}

absl::Status CudaSampler::Grow(int edits, int top) {
  if (edits > max_edits_) {
    max_edits_ = edits;
    device_input_.reset();
    ASSIGN_OR_RETURN(device_input_, memory_.Allocate(InputBytes(edits), MemoryUse::kScratch));
    input_ = PinnedBuffer(InputBytes(edits));
  }
  if (top > max_top_) {
    max_top_ = top;
    device_output_.reset();
    ASSIGN_OR_RETURN(device_output_, memory_.Allocate(OutputBytes(top), MemoryUse::kScratch));
    output_ = PinnedBuffer(OutputBytes(top));
  }
  return absl::OkStatus();
}

void CudaSampler::Draw(Tensor logits, std::span<const SampleRow> rows, std::span<Sampled> out,
                       cudaStream_t stream) {
  planned_.clear();
  edits_.clear();
  int top = 0;
  for (size_t i = 0; i < rows.size(); ++i) {
    planned_.push_back(cuda::PlanSample(rows[i], static_cast<int>(i), logits.cols, &edits_));
    top = std::max<int>(top, planned_.back().top);
  }
  Run(logits, top, out, stream);
}

Sampled CudaSampler::Score(Tensor logits, int32_t token, int top, cudaStream_t stream) {
  if (token < 0) return {};  // of which no row knows anything; to the kernel it is a draw
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
  Run(logits, top, {&score, 1}, stream);
  return score;
}

// Of planned_ and edits_, with at most `top` likely tokens. The stream is idle between calls, so that input
// and output can be used again.
void CudaSampler::Run(Tensor logits, int top, std::span<Sampled> out, cudaStream_t stream) {
  const int count = static_cast<int>(planned_.size()), edits = static_cast<int>(edits_.size());
  HYDRAD_CHECK(logits.dtype == DType::kF32 && count <= max_rows_);
  HYDRAD_CHECK(Grow(edits > max_edits_ ? 2 * edits : 0, top).ok());

  const size_t rows_bytes = max_rows_ * sizeof(cuda::SampleRow);
  std::memcpy(input_.data(), planned_.data(), planned_.size() * sizeof(cuda::SampleRow));
  if (edits > 0)
    std::memcpy(input_.data() + rows_bytes, edits_.data(), edits_.size() * sizeof(cuda::SampleEdit));
  auto* in = static_cast<std::byte*>(device_input_->data());
  HYDRAD_CUDA_CHECK(cudaMemcpyAsync(in, input_.data(), InputBytes(edits), cudaMemcpyHostToDevice, stream));
  auto* results = static_cast<cuda::SampleResult*>(device_output_->data());
  auto* likely = reinterpret_cast<TokenLogprob*>(results + max_rows_);
  HYDRAD_CUDA_CHECK(cuda::Sample({static_cast<float*>(logits.data), logits.rows, logits.cols, logits.stride},
                                 reinterpret_cast<const cuda::SampleRow*>(in), count,
                                 reinterpret_cast<cuda::SampleEdit*>(in + rows_bytes), results, likely,
                                 max_top_, stream));
  const size_t bytes = top == 0 ? count * sizeof(cuda::SampleResult) : OutputBytes(max_top_);
  HYDRAD_CUDA_CHECK(cudaMemcpyAsync(output_.data(), results, bytes, cudaMemcpyDeviceToHost, stream));
  HYDRAD_CUDA_CHECK(cudaStreamSynchronize(stream));

  const auto* drawn = reinterpret_cast<const cuda::SampleResult*>(output_.data());
  const auto* drawn_top = reinterpret_cast<const TokenLogprob*>(drawn + max_rows_);
  for (int i = 0; i < count; ++i) {
    const TokenLogprob* begin = drawn_top + static_cast<size_t>(i) * max_top_;
    out[i] = {drawn[i].token, drawn[i].logprob, {begin, begin + (top == 0 ? 0 : drawn[i].top_count)}};
  }
}

}  // namespace hydrad
