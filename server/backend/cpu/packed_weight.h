// A base projection in the layout of the CPU's dense product.
#ifndef HYDRAD_SERVER_BACKEND_CPU_PACKED_WEIGHT_H_
#define HYDRAD_SERVER_BACKEND_CPU_PACKED_WEIGHT_H_

#include <absl/status/statusor.h>

#include <memory>
#include <span>
#include <vector>

#include "kernels/gemm.h"
#include "server/backend/buffer.h"
#include "server/backend/cpu/aligned_buffer.h"
#include "server/backend/tensor.h"

namespace hydrad {

// Immutable after Pack; owns its memory.
class PackedWeight : public Weight {
 public:
  // As Backend::LoadWeight. The packing is shared among the workers of `pool`.
  static absl::StatusOr<std::unique_ptr<PackedWeight>> Pack(simd::Pool& pool, WeightType type,
                                                            std::span<const HostMatrix> parts,
                                                            std::span<const float> bias);

  int rows() const override { return packed_.n; }
  int cols() const override { return packed_.k; }
  size_t bytes() const override { return memory_->bytes() + bias_.size() * sizeof(float); }

  const PackedWeights& packed() const { return packed_; }
  const float* bias() const { return bias_.empty() ? nullptr : bias_.data(); }

 private:
  PackedWeight(PackedWeights packed, std::unique_ptr<AlignedBuffer> memory, std::span<const float> bias)
      : packed_(packed), memory_(std::move(memory)), bias_(bias.begin(), bias.end()) {}

  PackedWeights packed_;  // views memory_
  std::unique_ptr<AlignedBuffer> memory_;
  std::vector<float> bias_;  // [rows] or empty
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_BACKEND_CPU_PACKED_WEIGHT_H_
