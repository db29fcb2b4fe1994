// y += U^T z for the tiles of every run. A piece of work is one tile of rows times a stretch of the columns
// of y, with every member of the run's group that has columns there.
#include "kernels/cuda/lora_product.cuh"

namespace hydrad::cuda {
namespace {

// Lists the coefficients [begin, begin + kDotRanks) that some row has, even and odd ones apart: what a gate
// shut out is never read. In order, so that a row's sum does not depend on the rows beside it.
__device__ void ListCoefficients(ExpandShared& shared, const Stretch& s, int begin) {
  const int j = begin + threadIdx.x, lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  float z[4] = {};
  bool any = false;
  if (j < s.ranks()) {
#pragma unroll
    for (int r = 0; r < kLoraDotRows; ++r) {
      if (r < s.tile().rows) z[r] = Widen(*s.z(s.tile().row + r, j));
      any = any || z[r] != 0;
    }
  }
  const int parity = lane % 2;
  const unsigned alive = __ballot_sync(kAllLanes, any) & (parity == 0 ? 0x55555555u : 0xaaaaaaaau);
  if (lane < 2) shared.dot.count[parity][warp] = __popc(alive);
  __syncthreads();
  if (any) {
    int at = __popc(alive & ((1u << lane) - 1));
    for (int w = 0; w < warp; ++w) at += shared.dot.count[parity][w];
    *reinterpret_cast<float4*>(shared.dot.z[parity][at]) = make_float4(z[0], z[1], z[2], 0);
    shared.dot.rank[parity][at] = static_cast<int16_t>(threadIdx.x);
  }
  __syncthreads();
}

// Eight elements of row j of U.
__device__ __forceinline__ void LoadUp(float (&to)[8], const Stretch& s, int j, int col) {
  const bf16* from = s.up(j) + col;
  if (s.fast) return Load8(to, from);
#pragma unroll
  for (int i = 0; i < 8; ++i) to[i] = col + i < s.cols ? Widen(from[i]) : 0;
}

// Up to three rows.
template <class Y>
__device__ void DotStretch(ExpandShared& shared, const Stretch& s, Mat<Y> y) {
  constexpr int kRows = kLoraDotRows;
  const int parity = threadIdx.x / 64, part = threadIdx.x % 64, col = part * 8;
  const bool mine = col < s.cols;
  float sum[kRows][8] = {};
  __syncthreads();  // the stretch before has been read
  for (int begin = 0; begin < s.ranks(); begin += kDotRanks) {
    ListCoefficients(shared, s, begin);
    const int* counts = shared.dot.count[parity];
    const int count = mine ? counts[0] + counts[1] + counts[2] + counts[3] : 0;
#pragma unroll 4
    for (int i = 0; i < count; ++i) {
      float up[8];
      LoadUp(up, s, begin + shared.dot.rank[parity][i], col);
      const float4 z = *reinterpret_cast<const float4*>(shared.dot.z[parity][i]);
#pragma unroll
      for (int c = 0; c < 8; ++c) {
        sum[0][c] = fmaf(z.x, up[c], sum[0][c]);
        sum[1][c] = fmaf(z.y, up[c], sum[1][c]);
        sum[2][c] = fmaf(z.z, up[c], sum[2][c]);
      }
    }
    __syncthreads();
  }
  if (parity == 1) {
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      shared.dot.half[r][0][part] = make_float4(sum[r][0], sum[r][1], sum[r][2], sum[r][3]);
      shared.dot.half[r][1][part] = make_float4(sum[r][4], sum[r][5], sum[r][6], sum[r][7]);
    }
  }
  __syncthreads();
  if (parity == 1 || !mine) return;
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
    if (r >= s.tile().rows) break;
    float change[8];
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const float4 other = shared.dot.half[r][h][part];
      change[4 * h] = sum[r][4 * h] + other.x, change[4 * h + 1] = sum[r][4 * h + 1] + other.y;
      change[4 * h + 2] = sum[r][4 * h + 2] + other.z, change[4 * h + 3] = sum[r][4 * h + 3] + other.w;
    }
    UpdateRow(s, s.at(y, s.tile().row + r, col), change, col);
  }
}

// A tile. kWarpRows = 4: each warp has 16 rows of it. kWarpRows = 1: each has a quarter of the columns of the
// same 16 rows. `again`: the stretch before was of the same tile and member.
template <int kWarpRows, class Y>
__device__ void MultiplyStretch(ExpandStages<kWarpRows>& stages, const Stretch& s, Mat<Y> y, bool again) {
  using S = ExpandStages<kWarpRows>;
  constexpr int kPairs = kWarpRows == 4 ? S::kCols / 16 : S::kCols / 64;
  const int warp = threadIdx.x / 32;
  const int row = kWarpRows == 4 ? warp * 16 : 0, col = kWarpRows == 4 ? 0 : warp * kPairs * 16;
  const int slabs = CeilDiv(s.ranks(), kSlab);
  const bool z_is_there = again && slabs == 1;
  const auto steps_of = [&](int slab) { return CeilDiv(min(kSlab, s.ranks() - slab * kSlab), kStepRanks); };
  const auto row_of = [&](int r) { return s.tile().row + r; };
  float sum[2 * kPairs][4] = {};
  __syncthreads();  // the sums before have been read
  ForEachSlab(
      slabs,
      [&](int slab, int stage) {
        FetchSteps(stages, s, stage, steps_of(slab), z_is_there, row_of,
                   [&](int i) { return slab * kSlab + i; });
      },
      [&](int slab, int stage) {
        for (int step = 0; step < steps_of(slab); ++step) {
          MultiplyStep<kPairs, S::kCols / 8>(stages.z[stage], stages.up[stage], row, col / 8, step, sum);
        }
      });
  AddSums(stages, s, y, row, col, sum, row_of);
}

// Columns [begin, end) of the member at hand.
template <class Y>
__device__ __forceinline__ void ExpandStretch(ExpandShared& shared, const LoraScratch& scratch, Mat<Y> y,
                                              bool dot, int begin, int end, bool again) {
  if (dot) {
    DotStretch(shared, StretchOf(shared, scratch, y, begin, end), y);
  } else if (shared.tables.tile->rows <= ExpandStages<1>::kRows) {
    MultiplyStretch(shared.narrow, StretchOf(shared, scratch, y, begin, end), y, again);
  } else {
    for (int b = begin; b < end; b += ExpandStages<4>::kCols) {
      const int e = min(end, b + ExpandStages<4>::kCols);
      MultiplyStretch(shared.wide, StretchOf(shared, scratch, y, b, e), y, again || b > begin);
    }
  }
}

// The block's share of `tiles` tiles from `first_tile` on.
template <class Y>
__device__ __forceinline__ void ExpandTiles(ExpandShared& shared, const LoraScratch& scratch,
                                            const LoraSite& site, Mat<Y> y, bool dot, int first_tile,
                                            int tiles, int* first_block) {
  const int cols = dot ? kDotCols : kPieceCols, pieces = CeilDiv(y.cols, cols);
  const LoraShare share = TakeShare(tiles * pieces, first_block);
  int tile = -1, member = 0;
  bool changed = false,
       again = false;  // whether the tile's adapter is at the site; the member was expanded before
  for (int w = share.begin; w < share.end; ++w) {
    if (w / pieces != tile) {
      tile = w / pieces, member = 0, again = false;
      changed = shared.tables.Read(*shared.plan, first_tile + tile, site);
      if (changed) ReadMember(shared, 0);
    }
    const int begin = w % pieces * cols, end = begin + cols;
    while (changed) {
      const int first = shared.member->out_begin, last = first + shared.member->out;
      if (max(begin, first) < min(end, last)) {
        ExpandStretch(shared, scratch, y, dot, max(begin, first) - first, min(end, last) - first, again);
        again = true;
      }
      if (last >= end || member + 1 == shared.tables.group->member_count) break;
      ReadMember(shared, ++member);
      again = false;
    }
  }
}

template <class Y>
__global__ void __launch_bounds__(kLoraThreads, kLoraBlocks)
    ExpandKernel(const __grid_constant__ Mat<Y> y, const LoraPlan* plan, LoraSite site,
                 const __grid_constant__ LoraScratch scratch) {
  __shared__ ExpandShared shared;
  shared.plan.Read(plan);
  __syncthreads();
  const LoraPlan& p = *shared.plan;
  int first_block = 0;
  ExpandTiles(shared, scratch, site, y, true, 0, p.tile_count[kShortRun], &first_block);
  ExpandTiles(shared, scratch, site, y, false, p.tile_count[kShortRun],
              p.tile_count[kSplitRun] + p.tile_count[kLongRun], &first_block);
}

template <class Y>
cudaError_t Expand(Mat<Y> y, const LoraPlan* plan, LoraSite site, const LoraScratch& scratch,
                   cudaStream_t stream) {
  if (!InRange(site, scratch)) return cudaErrorInvalidValue;
  if (y.rows == 0) return cudaSuccess;
  return Launch(ExpandKernel<Y>, scratch.blocks, kLoraThreads, 0, stream, y, plan, site, scratch);
}

}  // namespace

cudaError_t LoraExpand(Mat<bf16> y, const LoraPlan* plan, LoraSite site, const LoraScratch& scratch,
                       cudaStream_t stream) {
  return Expand(y, plan, site, scratch, stream);
}
cudaError_t LoraExpand(Mat<float> y, const LoraPlan* plan, LoraSite site, const LoraScratch& scratch,
                       cudaStream_t stream) {
  return Expand(y, plan, site, scratch, stream);
}

}  // namespace hydrad::cuda
