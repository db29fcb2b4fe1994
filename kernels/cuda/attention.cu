// Attention over the paged cache: stretches of 64 positions, aligned at 64, pass through shared memory while
// the queries stay; softmax is online, in f32.
#include "kernels/cuda/attention.cuh"

namespace hydrad::cuda {
namespace {

constexpr int kThreads = kAttentionThreads;
constexpr int kStretch = 64;

template <int kDim>  // head_dim rounded up
struct Shared {
  static constexpr int kChunks = kDim / 8;
  uint4 q[kAttentionTilePairs * kChunks];
  union {
    struct {
      uint4 k[kStretch * kChunks], v[kStretch * kChunks];
    };
    float part[4][16][kDim];  // of the warps that share a small item; columns as in PartColumn
  };
  Table<AttentionPlan> plan;
  Table<AttentionItem> item;
  Table<AttentionSegment> segment;
  int64_t cached[2][kStretch];  // where the keys and values of a stretch's positions begin
};

// Place of a column of row `row` of a part: four consecutive rows keep eight columns in different banks.
__device__ __forceinline__ int PartColumn(int row, int col) { return col ^ row % 4 * 8; }

// What a warp knows about its 16 queries so far. A lane has rows lane / 4 and lane / 4 + 8.
template <int kDim>
struct Running {
  float max[2] = {-INFINITY, -INFINITY};
  float sum[2] = {0, 0};  // of this lane's positions
  float out[kDim / 8][4] = {};
};

template <int kDim>
__device__ __forceinline__ void FetchQueries(Shared<kDim>& shared, const AttendWork& w, int rows) {
  constexpr int kChunks = kDim / 8;
  const int dim = w.args.kv.head_dim;
  for (int i = threadIdx.x; i < rows * kChunks; i += kThreads) {
    const int r = i / kChunks, c = i % kChunks;
    const bool valid = r < w.item.pair_count && c * 8 < dim;
    const bf16* from = valid ? w.args.q.row(w.Row(r)) + w.Column(r) + c * 8 : w.args.q.data;
    ptx::CopyAsync16(&shared.q[TileAt<kChunks>(r, c)], from, valid);
  }
}

// Finds the positions of the stretch that begins at `begin` in the cache.
__device__ __forceinline__ void FindStretch(int64_t (&cached)[kStretch], const AttendWork& w, int begin) {
  const int position = begin + threadIdx.x;
  if (threadIdx.x < kStretch && position < w.item.position_end) cached[threadIdx.x] = w.Cached(position);
}

// Its keys or values; zeros beyond the item's end.
template <int kDim>
__device__ __forceinline__ void FetchStretch(uint4* to, const bf16* cache, const AttendWork& w,
                                             const int64_t (&cached)[kStretch], int begin) {
  constexpr int kChunks = kDim / 8;
  const int dim = w.args.kv.head_dim;
  for (int i = threadIdx.x; i < kStretch * kChunks; i += kThreads) {
    const int r = i / kChunks, c = i % kChunks;
    const bool valid = begin + r < w.item.position_end && c * 8 < dim;
    const bf16* from = valid ? cache + cached[r] + c * 8 : cache;
    ptx::CopyAsync16(&to[TileAt<kChunks>(r, c)], from, valid);
  }
}

// score[n] = q k^T of 16 queries and the positions [first, first + 8 * kTiles) of the stretch.
template <int kDim, int kTiles>
__device__ __forceinline__ void Scores(const Shared<kDim>& shared, int row, int first, int dim,
                                       float (&score)[kTiles][4]) {
  constexpr int kChunks = kDim / 8;
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int step = 0; step < kDim / 16; ++step) {
    if (step * 16 >= dim) break;
    uint32_t a[4], b[4];
    ptx::LoadMatrix4(a, &shared.q[TileAt<kChunks>(row + lane % 16, 2 * step + lane / 16)]);
#pragma unroll
    for (int n = 0; n < kTiles / 2; ++n) {
      const int position = first + n * 16 + lane % 8 + lane / 16 * 8;
      ptx::LoadMatrix4(b, &shared.k[TileAt<kChunks>(position, 2 * step + lane / 8 % 2)]);
      ptx::MultiplyAdd(score[2 * n], a, b[0], b[1]);
      ptx::MultiplyAdd(score[2 * n + 1], a, b[2], b[3]);
    }
  }
}

// Turns scores into weights and brings what is known to the new largest score. `begin` is the position of the
// first column; columns from ends[half] on are hidden.
template <int kDim, int kTiles>
__device__ __forceinline__ void Weigh(Running<kDim>& state, float (&score)[kTiles][4], int begin,
                                      const int (&ends)[2], float scale) {
  const int column = begin + threadIdx.x % 4 * 2;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    float top = state.max[half];
#pragma unroll
    for (int n = 0; n < kTiles; ++n) {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        float& s = score[n][2 * half + i];
        s = column + n * 8 + i < ends[half] ? s * scale : -INFINITY;
        top = fmaxf(top, s);
      }
    }
    top = fmaxf(top, __shfl_xor_sync(kAllLanes, top, 1));
    top = fmaxf(top, __shfl_xor_sync(kAllLanes, top, 2));
    const float base = top == -INFINITY ? 0 : top, shrink = exp2f(state.max[half] - base);
    float sum = 0;
#pragma unroll
    for (int n = 0; n < kTiles; ++n) {
#pragma unroll
      for (int i = 0; i < 2; ++i) sum += score[n][2 * half + i] = exp2f(score[n][2 * half + i] - base);
    }
    state.max[half] = top;
    state.sum[half] = state.sum[half] * shrink + sum;
#pragma unroll
    for (int n = 0; n < kDim / 8; ++n) state.out[n][2 * half] *= shrink, state.out[n][2 * half + 1] *= shrink;
  }
}

// out += weights * values. The weights' layout as a result is their layout as a factor.
template <int kDim, int kTiles>
__device__ __forceinline__ void AddValues(const Shared<kDim>& shared, Running<kDim>& state,
                                          const float (&weight)[kTiles][4], int first, int dim) {
  constexpr int kChunks = kDim / 8;
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int j = 0; j < kTiles / 2; ++j) {
    const uint32_t a[4] = {PackPair(weight[2 * j][0], weight[2 * j][1]),
                           PackPair(weight[2 * j][2], weight[2 * j][3]),
                           PackPair(weight[2 * j + 1][0], weight[2 * j + 1][1]),
                           PackPair(weight[2 * j + 1][2], weight[2 * j + 1][3])};
#pragma unroll
    for (int n = 0; n < kDim / 16; ++n) {
      if (n * 16 >= dim) break;
      uint32_t b[4];
      ptx::LoadMatrix4Transposed(b,
                                 &shared.v[TileAt<kChunks>(first + j * 16 + lane % 16, 2 * n + lane / 16)]);
      ptx::MultiplyAdd(state.out[2 * n], a, b[0], b[1]);
      ptx::MultiplyAdd(state.out[2 * n + 1], a, b[2], b[3]);
    }
  }
}

// Rows row .. row + 15 of a large item: to the output, by way of this warp's own queries in shared memory, or
// as partial results.
template <int kDim>
__device__ __forceinline__ void StoreRows(Shared<kDim>& shared, const AttendWork& w,
                                          const Running<kDim>& state, int row) {
  constexpr int kChunks = kDim / 8;
  const int lane = threadIdx.x % 32, dim = w.args.kv.head_dim;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int r = row + lane / 4 + 8 * half;
    const float factor = 1 / state.sum[half];
#pragma unroll
    for (int n = 0; n < kDim / 8; ++n) {
      const float a = state.out[n][2 * half], b = state.out[n][2 * half + 1];
      if (n * 8 >= dim) break;
      if (w.item.partial < 0) {
        reinterpret_cast<uint32_t*>(&shared.q[TileAt<kChunks>(r, n)])[lane % 4] =
            PackPair(a * factor, b * factor);
      } else if (r < w.item.pair_count) {
        float* to = w.args.scratch.out + w.Partial(r) * dim + n * 8 + lane % 4 * 2;
        *reinterpret_cast<float2*>(to) = make_float2(a, b);
      }
    }
    if (w.item.partial >= 0 && r < w.item.pair_count && lane % 4 == 0) {
      w.args.scratch.sum[w.Partial(r)] = make_float2(state.max[half], state.sum[half]);
    }
  }
  if (w.item.partial >= 0) return;
  __syncwarp();
  for (int i = lane; i < 16 * (dim / 8); i += 32) {
    const int r = row + i / (dim / 8), c = i % (dim / 8);
    if (r >= w.item.pair_count) break;
    *reinterpret_cast<uint4*>(w.args.out.row(w.Row(r)) + w.Column(r) + c * 8) =
        shared.q[TileAt<kChunks>(r, c)];
  }
}

// The 16 queries of a small item: the four warps' parts are joined in order.
template <int kDim>
__device__ __forceinline__ void JoinWarps(Shared<kDim>& shared, const AttendWork& w,
                                          const Running<kDim>& state) {
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, dim = w.args.kv.head_dim;
  float2(*sums)[16] = reinterpret_cast<float2(*)[16]>(shared.q);
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int r = lane / 4 + 8 * half;
#pragma unroll
    for (int n = 0; n < kDim / 8; ++n) {
      if (n * 8 >= dim) break;
      ptx::StorePair(&shared.part[warp][r][PartColumn(r, n * 8 + lane % 4 * 2)], state.out[n][2 * half],
                     state.out[n][2 * half + 1]);
    }
    if (lane % 4 == 0) sums[warp][r] = make_float2(state.max[half], state.sum[half]);
  }
  __syncthreads();
  for (int i = threadIdx.x; i < w.item.pair_count * (dim / 4); i += kThreads) {
    const int r = i / (dim / 4), c = i % (dim / 4) * 4;
    const float top = fmaxf(fmaxf(sums[0][r].x, sums[1][r].x), fmaxf(sums[2][r].x, sums[3][r].x));
    const float base = top == -INFINITY ? 0 : top;
    float total = 0, out[4] = {};
#pragma unroll
    for (int p = 0; p < 4; ++p) {
      const float factor = exp2f(sums[p][r].x - base);
      float part[4];
      Load4(part, &shared.part[p][r][PartColumn(r, c)]);
      total += sums[p][r].y * factor;
#pragma unroll
      for (int j = 0; j < 4; ++j) out[j] = fmaf(part[j], factor, out[j]);
    }
    if (w.item.partial >= 0) {
      Store4(w.args.scratch.out + w.Partial(r) * dim + c, out);
      if (c == 0) w.args.scratch.sum[w.Partial(r)] = make_float2(top, total);
      continue;
    }
#pragma unroll
    for (int j = 0; j < 4; ++j) out[j] /= total;
    Store4(w.args.out.row(w.Row(r)) + w.Column(r) + c, out);
  }
}

// kWarpRows = 4: each warp has 16 of up to 64 queries and all positions. kWarpRows = 1: each has the same 16
// queries and every fourth 16 positions.
template <int kDim, int kWarpRows>
__device__ void AttendItem(Shared<kDim>& shared, const AttendWork& w) {
  constexpr int kTiles = kWarpRows == 4 ? 8 : 2;
  const KvLayer<bf16>& kv = w.args.kv;
  const int warp = threadIdx.x / 32, row = kWarpRows == 4 ? warp * 16 : 0,
            first = kWarpRows == 4 ? 0 : warp * 16;
  const int lane_row = row + threadIdx.x % 32 / 4;
  const int ends[2] = {w.End(lane_row), w.End(lane_row + 8)};
  Running<kDim> state;
  FindStretch(shared.cached[0], w, w.item.position_begin);
  __syncthreads();
  FetchQueries(shared, w, 16 * kWarpRows);
  FetchStretch<kDim>(shared.k, kv.k, w, shared.cached[0], w.item.position_begin);
  ptx::CommitCopies();
  int turn = 0;
  for (int begin = w.item.position_begin; begin < w.item.position_end; begin += kStretch) {
    FetchStretch<kDim>(shared.v, kv.v, w, shared.cached[turn], begin);
    ptx::CommitCopies();
    turn ^= 1;
    FindStretch(shared.cached[turn], w, begin + kStretch);
    ptx::WaitCopies<1>();
    __syncthreads();
    float score[kTiles][4] = {};
    Scores<kDim, kTiles>(shared, row, first, kv.head_dim, score);
    __syncthreads();  // the keys have been read
    if (begin + kStretch < w.item.position_end) {
      FetchStretch<kDim>(shared.k, kv.k, w, shared.cached[turn], begin + kStretch);
    }
    ptx::CommitCopies();
    Weigh<kDim, kTiles>(state, score, begin + first, ends, w.args.scale);
    ptx::WaitCopies<1>();
    __syncthreads();
    AddValues<kDim, kTiles>(shared, state, score, first, kv.head_dim);
    __syncthreads();  // the values have been read
  }
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    state.sum[half] += __shfl_xor_sync(kAllLanes, state.sum[half], 1);
    state.sum[half] += __shfl_xor_sync(kAllLanes, state.sum[half], 2);
  }
  if constexpr (kWarpRows == 4) {
    StoreRows(shared, w, state, row);
  } else {
    JoinWarps(shared, w, state);
  }
}

template <int kDim>
__global__ void __launch_bounds__(kThreads, AttentionBlocks(kDim))
    AttendKernel(const __grid_constant__ AttendArgs args) {
  extern __shared__ uint4 memory[];
  Shared<kDim>& shared = *reinterpret_cast<Shared<kDim>*>(memory);
  shared.plan.Read(args.plan);
  __syncthreads();
  const int works = shared.plan->item_count * args.kv.kv_heads;
  for (int i = blockIdx.x; i < works; i += gridDim.x) {
    shared.item.Read(shared.plan->items + i / args.kv.kv_heads);
    __syncthreads();
    shared.segment.Read(shared.plan->segments + shared.item->segment);
    __syncthreads();
    const AttendWork w{args,
                       *shared.item,
                       *shared.segment,
                       shared.plan->tables + shared.segment->table_begin,
                       i % args.kv.kv_heads,
                       args.group()};
    if (w.item.pair_count <= kAttentionSmallPairs) {
      AttendItem<kDim, 1>(shared, w);
    } else {
      AttendItem<kDim, 4>(shared, w);
    }
    __syncthreads();  // before the next item overwrites what this one is and stores from
  }
}

// A warp per (merge, kv head); lane s has the weight of split s.
__global__ void __launch_bounds__(kThreads) MergeKernel(const __grid_constant__ AttendArgs args) {
  const int lane = threadIdx.x % 32, kv_heads = args.kv.kv_heads, dim = args.kv.head_dim;
  const int works = args.plan->merge_count * kv_heads, group = args.group();
  for (int i = (blockIdx.x * kThreads + threadIdx.x) / 32; i < works; i += gridDim.x * kThreads / 32) {
    const AttentionMerge m = args.plan->merges[i / kv_heads];
    const int kv_head = i % kv_heads;
    const auto partial = [&](int s) { return int64_t{m.partial + s * m.stride} * kv_heads + kv_head; };
    float2 part = make_float2(-INFINITY, 0);
    if (lane < m.splits) part = args.scratch.sum[partial(lane)];
    const float top = WarpMax(part.x), factor = exp2f(part.x - (top == -INFINITY ? 0 : top));
    const float total = WarpSum(part.y * factor);
    bf16* out = args.out.row(m.row) + (kv_head * group + m.head) * dim;
    for (int d = 0; d < dim; d += 32) {
      float sum = 0;
      for (int s = 0; s < m.splits; ++s) {
        const float share = __shfl_sync(kAllLanes, factor, s);
        if (d + lane < dim) sum = fmaf(args.scratch.out[partial(s) * dim + d + lane], share, sum);
      }
      if (d + lane < dim) Narrow(out[d + lane], sum / total);
    }
  }
}

template <int kDim>
cudaError_t LaunchFast(const AttendArgs& args, cudaStream_t stream) {
  return Launch(AttendKernel<kDim>, args.scratch.blocks, kThreads, sizeof(Shared<kDim>), stream, args);
}

cudaError_t LaunchItems(const AttendArgs& args, cudaStream_t stream) {
  const int dim = args.kv.head_dim;
  const bool fast = dim % 8 == 0 && RowsAligned16(args.q) && RowsAligned16(args.out) &&
                    Aligned16(args.kv.k) && Aligned16(args.kv.v) && Aligned16(args.scratch.out);
  if (fast && dim <= 64) return LaunchFast<64>(args, stream);
  if (fast && dim <= 128) return LaunchFast<128>(args, stream);
  if (fast && dim <= 256) return LaunchFast<256>(args, stream);
  return AttendSlow(args, stream);
}

}  // namespace

cudaError_t Attend(Mat<bf16> out, Mat<const bf16> q, KvLayer<bf16> kv, const AttentionPlan* plan, float scale,
                   const AttentionScratch& scratch, cudaStream_t stream) {
  if (q.cols % (kv.kv_heads * kv.head_dim) != 0 || out.cols != q.cols) return cudaErrorInvalidValue;
  if (q.rows == 0) return cudaSuccess;
  constexpr float kLog2E = 1.4426950408889634f;
  const AttendArgs args{out, q, kv, plan, scale * kLog2E, scratch};
  const cudaError_t error = LaunchItems(args, stream);
  if (error != cudaSuccess) return error;
  return Launch(MergeKernel, scratch.blocks, kThreads, 0, stream, args);
}

}  // namespace hydrad::cuda
