#include "server/backend/cuda/sampler.h"

#include <algorithm>
#include <cstring>

#include "kernels/cuda/kernels.h"
#include "server/base/check.h"
#include "server/base/status_macros.h"

namespace hydrad {
namespace {

constexpr int kFirstEdits = 4096, kFirstTop = 20;
constexpr char kDrawing[] = "drawing tokens";

cuda::SampleRow PlanScore(const ScoreRow& score) {
  return {.row = score.index,
          .scored = score.token,
          .temperature = 1,
          .top_p = 1,
          .min_p = 0,
          .top_k = 0,
          .edit_begin = 0,
          .edit_end = 0,
          .seed = 0,
          .step = 0,
          .top = score.top};
}

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

// Puts a draw's mask into the device's memory, in the place of its row of logits, and where it is into the
// plan. There is room for the masks of all rows from the first mask on.
absl::Status CudaSampler::PutMask(std::span<const uint32_t> mask, cudaStream_t stream,
                                  cuda::SampleRow* planned) {
  if (mask.empty()) return absl::OkStatus();
  const size_t each = mask.size_bytes(), all = static_cast<size_t>(max_rows_) * each;
  if (device_masks_ == nullptr || masks_.bytes() < all) {
    device_masks_.reset();
    ASSIGN_OR_RETURN(masks_, PinnedBuffer::Make(all));
    ASSIGN_OR_RETURN(device_masks_, memory_.Allocate(all, MemoryUse::kScratch));
  }
  const size_t begin = static_cast<size_t>(planned->row) * each;
  std::memcpy(masks_.data() + begin, mask.data(), each);
  std::byte* const to = static_cast<std::byte*>(device_masks_->data()) + begin;
  planned->allowed = reinterpret_cast<const uint32_t*>(to);
  return CudaStatus(cudaMemcpyAsync(to, masks_.data() + begin, each, cudaMemcpyHostToDevice, stream),
                    kDrawing);
}

absl::Status CudaSampler::Begin(Tensor logits, std::span<const Draw> draws, std::span<const ScoreRow> scores,
                                cudaStream_t stream) {
  planned_.clear();
  scored_.clear();
  edits_.clear();
  top_ = 0;
  for (const Draw& draw : draws) {
    planned_.push_back(cuda::PlanSample(draw.row, draw.index, logits.cols, &edits_));
    RETURN_IF_ERROR(PutMask(draw.row.allowed, stream, &planned_.back()));
    top_ = std::max<int>(top_, planned_.back().top);
  }
  for (const ScoreRow& score : scores) {
    // A token below 0 is in no row; to the kernel it would be a draw.
    if (scored_.emplace_back(score.token >= 0)) planned_.push_back(PlanScore(score));
    top_ = std::max<int>(top_, score.top);
  }
  return planned_.empty() ? absl::OkStatus() : Launch(logits, stream);
}

// Of planned_ and edits_.
absl::Status CudaSampler::Launch(Tensor logits, cudaStream_t stream) {
  const int count = static_cast<int>(planned_.size()), edits = static_cast<int>(edits_.size());
  HYDRAD_CHECK(logits.dtype == DType::kF32 && count <= max_rows_);
  RETURN_IF_ERROR(GrowInput(edits > max_edits_ ? std::max(2 * edits, kFirstEdits) : edits));
  RETURN_IF_ERROR(GrowOutput(top_ > max_top_ ? std::max(top_, kFirstTop) : top_));

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
  const size_t bytes = top_ == 0 ? count * sizeof(cuda::SampleResult) : OutputBytes(max_top_);
  return CudaStatus(cudaMemcpyAsync(output_.data(), results, bytes, cudaMemcpyDeviceToHost, stream),
                    kDrawing);
}

void CudaSampler::End(std::span<Sampled> sampled, std::span<Sampled> scored) {
  size_t planned = 0;
  for (Sampled& draw : sampled) draw = Take(planned++);
  for (size_t i = 0; i < scored.size(); ++i) scored[i] = scored_[i] ? Take(planned++) : Sampled{};
}

Sampled CudaSampler::Take(size_t planned) const {
  const auto* results = reinterpret_cast<const cuda::SampleResult*>(output_.data());
  const cuda::SampleResult& result = results[planned];
  const auto* top = reinterpret_cast<const TokenLogprob*>(results + max_rows_) + planned * max_top_;
  return {result.token, result.logprob, {top, top + (top_ == 0 ? 0 : result.top_count)}};
}

}  // namespace hydrad
