// What happens to q, k and v between their product and attention: a warp per head of a row.
#include "kernels/cuda/device.cuh"
#include "kernels/cuda/kernels.h"

namespace hydrad::cuda {
namespace {

constexpr int kWarps = 4;

struct Head {
  const bf16* from;
  bf16* to;
  int dim;
};

// 1 / root-mean-square of the head.
__device__ __forceinline__ float NormFactor(const Head& head, float eps, int lane) {
  float sum = 0;
  for (int i = lane; i < head.dim; i += 32) sum = fmaf(Widen(head.from[i]), Widen(head.from[i]), sum);
  sum = WarpSum(sum);
  __syncwarp();  // all lanes have read before one writes in place
  return 1 / sqrtf(sum / head.dim + eps);
}

// The pair (i, i + half), normed if there is a weight, and turned.
__device__ __forceinline__ void Turn(const Head& head, int i, float factor, const float* norm,
                                     const float* cos_sin, float* low, float* high) {
  const int half = head.dim / 2;
  float a = Widen(head.from[i]), b = Widen(head.from[half + i]);
  if (norm != nullptr) a *= factor * norm[i], b *= factor * norm[half + i];
  const float c = cos_sin[i], s = cos_sin[half + i];
  *low = a * c - b * s;
  *high = b * c + a * s;
}

__device__ __forceinline__ void RotateHead(const Head& head, const float* norm, float eps,
                                           const float* cos_sin, bool pairs, int lane) {
  const float factor = norm != nullptr ? NormFactor(head, eps, lane) : 1;
  const int half = head.dim / 2;
  float low[2], high[2];
  if (pairs) {
    for (int i = 2 * lane; i < half; i += 64) {
      Turn(head, i, factor, norm, cos_sin, &low[0], &high[0]);
      Turn(head, i + 1, factor, norm, cos_sin, &low[1], &high[1]);
      *reinterpret_cast<uint32_t*>(head.to + i) = PackPair(low[0], low[1]);
      *reinterpret_cast<uint32_t*>(head.to + half + i) = PackPair(high[0], high[1]);
    }
    return;
  }
  for (int i = lane; i < half; i += 32) {
    Turn(head, i, factor, norm, cos_sin, &low[0], &high[0]);
    Narrow(head.to[i], low[0]);
    Narrow(head.to[half + i], high[0]);
  }
  // The last element of an odd head stands alone, and is not turned.
  if (head.dim % 2 == 1 && lane == 0) {
    const float x = Widen(head.from[head.dim - 1]);
    Narrow(head.to[head.dim - 1], norm != nullptr ? x * factor * norm[head.dim - 1] : x);
  }
}

__global__ void __launch_bounds__(kWarps * 32)
    RopeWriteKvKernel(Mat<bf16> qkv, RopeArgs args, KvLayer<bf16> kv, bool pairs) {
  const int lane = threadIdx.x % 32, each = args.heads + 2 * kv.kv_heads;
  const int index = blockIdx.x * kWarps + threadIdx.x / 32;
  if (index >= qkv.rows * each) return;
  const int row = index / each, head = index % each, dim = kv.head_dim;
  bf16* at = qkv.row(row) + head * dim;
  const float* cos_sin = args.cos_sin + int64_t{args.positions[row]} * dim;
  if (head < args.heads) {
    RotateHead({at, at, dim}, args.q_norm, args.eps, cos_sin, pairs, lane);
    return;
  }
  const int slot = args.slots[row];
  if (slot < 0) return;
  const bool key = head < args.heads + kv.kv_heads;
  const int kv_head = head - args.heads - (key ? 0 : kv.kv_heads);
  const int64_t block = slot / kv.block_size, offset = slot % kv.block_size;
  bf16* to = (key ? kv.k : kv.v) + ((block * kv.kv_heads + kv_head) * kv.block_size + offset) * dim;
  if (key) {
    RotateHead({at, to, dim}, args.k_norm, args.eps, cos_sin, pairs, lane);
  } else if (pairs) {
    for (int i = 2 * lane; i < dim; i += 64) {
      *reinterpret_cast<uint32_t*>(to + i) = *reinterpret_cast<const uint32_t*>(at + i);
    }
  } else {
    for (int i = lane; i < dim; i += 32) to[i] = at[i];
  }
}

}  // namespace

cudaError_t RopeWriteKv(Mat<bf16> qkv, const RopeArgs& args, KvLayer<bf16> kv, cudaStream_t stream) {
  const int each = args.heads + 2 * kv.kv_heads;
  if (qkv.cols != each * kv.head_dim) return cudaErrorInvalidValue;
  if (qkv.rows == 0) return cudaSuccess;
  const auto even = [](const void* p) { return reinterpret_cast<uintptr_t>(p) % 4 == 0; };
  const bool pairs =
      kv.head_dim % 4 == 0 && qkv.stride % 2 == 0 && even(qkv.data) && even(kv.k) && even(kv.v);
  return Launch(RopeWriteKvKernel, CeilDiv(qkv.rows * each, kWarps), kWarps * 32, 0, stream, qkv, args, kv,
                pairs);
}

}  // namespace hydrad::cuda
