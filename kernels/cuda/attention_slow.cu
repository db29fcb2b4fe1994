// Attention for any head_dim and alignment: a warp per query, a lane per position, then a lane per every 32nd
// column.
#include "kernels/cuda/attention.cuh"

namespace hydrad::cuda {
namespace {

constexpr int kThreads = kAttentionThreads;

// Any head_dim: up to 32 positions from `begin`, one a lane; then the values, every 32nd column a lane. `out`
// is this warp's and holds what is known so far.
__device__ void AttendSlowly(const AttendWork& w, const bf16* q, int begin, int count, float* out,
                             float2* known) {
  const int lane = threadIdx.x % 32, dim = w.args.kv.head_dim;
  float score = -INFINITY;
  if (lane < count) {
    const bf16* k = w.args.kv.k + w.Cached(begin + lane);
    score = 0;
#pragma unroll 1
    for (int d = 0; d < dim; ++d) score = fmaf(Widen(q[d]), Widen(k[d]), score);
    score *= w.args.scale;
  }
  const float top = fmaxf(known->x, WarpMax(score)), base = top == -INFINITY ? 0 : top;
  const float shrink = exp2f(known->x - base), weight = exp2f(score - base);
  *known = make_float2(top, known->y * shrink + WarpSum(weight));
  for (int d = lane; d < dim; d += 32) out[d] *= shrink;
  for (int j = 0; j < count; ++j) {
    const float share = __shfl_sync(kAllLanes, weight, j);
    const bf16* v = w.args.kv.v + w.Cached(begin + j);
    for (int d = lane; d < dim; d += 32) out[d] = fmaf(share, Widen(v[d]), out[d]);
  }
}

__global__ void __launch_bounds__(kThreads, 4) AttendSlowKernel(const __grid_constant__ AttendArgs args) {
  extern __shared__ float sums[];  // [warps, head_dim]
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, dim = args.kv.head_dim;
  float* out = sums + warp * dim;
  const int works = args.plan->item_count * args.kv.kv_heads;
  for (int i = blockIdx.x; i < works; i += gridDim.x) {
    const AttentionItem item = args.plan->items[i / args.kv.kv_heads];
    const AttentionSegment segment = args.plan->segments[item.segment];
    const AttendWork w{
        args, item, segment, args.plan->tables + segment.table_begin, i % args.kv.kv_heads, args.group()};
    for (int p = warp; p < w.item.pair_count; p += kThreads / 32) {
      const bf16* q = args.q.row(w.Row(p)) + w.Column(p);
      float2 known = make_float2(-INFINITY, 0);  // largest score, sum of weights
      for (int d = lane; d < dim; d += 32) out[d] = 0;
      for (int begin = w.item.position_begin; begin < w.End(p); begin += 32) {
        AttendSlowly(w, q, begin, min(32, w.End(p) - begin), out, &known);
      }
      for (int d = lane; d < dim; d += 32) {
        if (w.item.partial >= 0) {
          args.scratch.out[w.Partial(p) * dim + d] = out[d];
        } else {
          Narrow(args.out.row(w.Row(p))[w.Column(p) + d], out[d] / known.y);
        }
      }
      if (w.item.partial >= 0 && lane == 0) args.scratch.sum[w.Partial(p)] = known;
    }
  }
}

}  // namespace

cudaError_t AttendSlow(const AttendArgs& args, cudaStream_t stream) {
  const size_t bytes = size_t{kThreads / 32} * args.kv.head_dim * sizeof(float);
  if (bytes > 48 * 1024) return cudaErrorInvalidValue;
  return Launch(AttendSlowKernel, args.scratch.blocks, kThreads, bytes, stream, args);
}

}  // namespace hydrad::cuda
