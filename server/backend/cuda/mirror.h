// Where the device has what stands in a block of host memory that is copied to it as it is.
#ifndef HYDRAD_SERVER_BACKEND_CUDA_MIRROR_H_
#define HYDRAD_SERVER_BACKEND_CUDA_MIRROR_H_

#include <span>

#include "kernels/cuda/plan.h"
#include "kernels/lora.h"
#include "server/base/check.h"

namespace hydrad {

class Mirror {
 public:
  // `device` has room for `host`.
  Mirror(std::span<const std::byte> host, std::byte* device) : host_(host), device_(device) {}

  // Of a pointer into the block; null of null.
  template <class V>
  V* operator()(V* host) const {
    if (host == nullptr) return nullptr;
    const auto offset = reinterpret_cast<const std::byte*>(host) - host_.data();
    HYDRAD_CHECK(offset >= 0 && static_cast<size_t>(offset) < host_.size());
    return reinterpret_cast<V*>(device_ + offset);
  }

  // The kernels' form of a member that lies in the block.
  cuda::LoraMember Member(const LoraMember<bf16>& m, int32_t z_begin, int32_t gate_begin) const {
    return {.down_begin = m.down_begin,
            .out_begin = m.out_begin,
            .out = m.out,
            .experts = m.experts,
            .z_begin = z_begin,
            .gate_begin = gate_begin,
            .rank_begin = (*this)(m.rank_begin),
            .gate = m.gate,
            .shared_a = m.shared_a,
            .scale = (*this)(m.scale),
            .router_bias = (*this)(m.router_bias),
            .up = (*this)(m.up),
            .out_scale = (*this)(m.out_scale),
            .out_bias = (*this)(m.out_bias)};
  }

 private:
  const std::span<const std::byte> host_;
  std::byte* const device_;
};

// Columns that the coefficients of members up to this one take in z, where it begins at `z_begin`.
inline int32_t EndInZ(const LoraMember<bf16>& m, int32_t z_begin) {
  return (z_begin + m.rank_begin[m.experts] + 7) / 8 * 8;
}

}  // namespace hydrad

#endif  // HYDRAD_SERVER_BACKEND_CUDA_MIRROR_H_
