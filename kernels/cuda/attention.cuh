// What the fast and the slow attention kernel share: where queries, keys and results are.
#ifndef HYDRAD_KERNELS_CUDA_ATTENTION_CUH_
#define HYDRAD_KERNELS_CUDA_ATTENTION_CUH_

#include "kernels/cuda/device.cuh"
#include "kernels/cuda/kernels.h"

namespace hydrad::cuda {

inline constexpr int kAttentionThreads = 128;

struct AttendArgs {
  Mat<bf16> out;
  Mat<const bf16> q;
  KvLayer<bf16> kv;
  const AttentionPlan* plan;
  float scale;  // times log2 e: weights are powers of two
  AttentionScratch scratch;

  __device__ __forceinline__ int group() const { return q.cols / kv.head_dim / kv.kv_heads; }
};

// One item for one kv head.
struct AttendWork {
  const AttendArgs& args;
  const AttentionItem& item;
  const AttentionSegment& segment;
  const int32_t* table;  // the segment's blocks
  int kv_head;
  int group;  // heads that share a kv head

  // Of pair i of the item.
  __device__ __forceinline__ int Row(int i) const {
    return segment.row_begin + (item.pair_begin + i) / group;
  }
  __device__ __forceinline__ int Column(int i) const {
    return (kv_head * group + (item.pair_begin + i) % group) * args.kv.head_dim;
  }
  // Positions that it may see end here.
  __device__ __forceinline__ int End(int i) const {
    return min(item.position_end, segment.first_position + (item.pair_begin + i) / group + 1);
  }
  // First element of the key or value of a position, from the cache's beginning.
  __device__ __forceinline__ int64_t Cached(int position) const {
    const int64_t block = table[position / args.kv.block_size];
    return ((block * args.kv.kv_heads + kv_head) * args.kv.block_size + position % args.kv.block_size) *
           args.kv.head_dim;
  }
  __device__ __forceinline__ int64_t Partial(int i) const {
    return int64_t{item.partial + i} * args.kv.kv_heads + kv_head;
  }
};

// The items of the plan, whatever head_dim and alignment (attention_slow.cu).
cudaError_t AttendSlow(const AttendArgs& args, cudaStream_t stream);

}  // namespace hydrad::cuda

#endif  // HYDRAD_KERNELS_CUDA_ATTENTION_CUH_
