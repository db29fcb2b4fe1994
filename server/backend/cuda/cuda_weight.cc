#include "server/backend/cuda/cuda_weight.h"

#include <algorithm>
#include <vector>

#include "server/backend/host_rows.h"
#include "server/backend/weight_format.h"
#include "server/base/status_macros.h"

namespace hydrad {
namespace {

// Its length is what was asked for; the pool rounds pieces up.
class PooledVector final : public Buffer {
 public:
  PooledVector(std::unique_ptr<AdapterPool::Piece> piece, size_t bytes)
      : piece_(std::move(piece)), bytes_(bytes) {}
  void* data() const override { return piece_->data(); }
  size_t bytes() const override { return bytes_; }

 private:
  const std::unique_ptr<AdapterPool::Piece> piece_;
  const size_t bytes_;
};

// Returns when the last copy is on its way.
absl::StatusOr<std::unique_ptr<Buffer>> Upload(const void* values, size_t bytes, DeviceMemory& memory,
                                               Uploader& uploader) {
  ASSIGN_OR_RETURN(auto buffer, memory.Allocate(bytes, MemoryUse::kWeights));
  RETURN_IF_ERROR(
      uploader.Copy(static_cast<std::byte*>(buffer->data()), static_cast<const std::byte*>(values), bytes));
  return buffer;
}

}  // namespace

absl::StatusOr<std::unique_ptr<CudaWeight>> CudaWeight::Load(std::span<const HostMatrix> parts,
                                                             std::span<const float> bias,
                                                             DeviceMemory& memory, Uploader& uploader) {
  int rows = 0;
  const int cols = parts.front().cols;
  for (const HostMatrix& part : parts) rows += part.rows;
  const size_t row_bytes = kBf16Weights.Bytes(1, cols);
  ASSIGN_OR_RETURN(auto values, memory.Allocate(kBf16Weights.Bytes(rows, cols), MemoryUse::kWeights));
  std::byte* to = static_cast<std::byte*>(values->data());
  for (const HostMatrix& part : parts) {
    RETURN_IF_ERROR(
        uploader.Copy(to, part.rows * row_bytes, row_bytes, [&](size_t begin, size_t count, std::byte* out) {
          CopyRows(part, static_cast<int>(begin / row_bytes), static_cast<int>(count / row_bytes),
                   reinterpret_cast<bf16*>(out));
        }));
    to += part.rows * row_bytes;
  }
  std::unique_ptr<Buffer> device_bias;
  if (!bias.empty()) {
    std::vector<bf16> narrow(bias.size());
    std::transform(bias.begin(), bias.end(), narrow.begin(), [](float x) { return ToBf16(x); });
    ASSIGN_OR_RETURN(device_bias, Upload(narrow.data(), narrow.size() * sizeof(bf16), memory, uploader));
  }
  RETURN_IF_ERROR(uploader.Await());
  return std::unique_ptr<CudaWeight>(new CudaWeight(rows, cols, std::move(values), std::move(device_bias)));
}

absl::StatusOr<std::unique_ptr<Buffer>> LoadModelVector(std::span<const float> values, DeviceMemory& memory,
                                                        Uploader& uploader) {
  ASSIGN_OR_RETURN(auto buffer, Upload(values.data(), values.size_bytes(), memory, uploader));
  RETURN_IF_ERROR(uploader.Await());
  return buffer;
}

absl::StatusOr<std::unique_ptr<Buffer>> LoadAdapterVector(std::span<const float> values, AdapterPool& pool,
                                                          Uploader& uploader) {
  ASSIGN_OR_RETURN(auto piece, pool.Take(values.size_bytes()));
  RETURN_IF_ERROR(
      uploader.Copy(piece->data(), reinterpret_cast<const std::byte*>(values.data()), values.size_bytes()));
  RETURN_IF_ERROR(uploader.Await());
  return std::make_unique<PooledVector>(std::move(piece), values.size_bytes());
}

}  // namespace hydrad
