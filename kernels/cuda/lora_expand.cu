// y += U^T z for the tiles of every run. A piece of work is one tile of rows times a stretch of the columns
// of y, with every member of the run's group that has columns there.
#include "kernels/cuda/lora_work.cuh"

namespace hydrad::cuda {
namespace {

constexpr int kDotCols =
    512;  // columns of a piece of a short run: eight a thread, by two halves of the ranks
constexpr int kDotRanks = 128;  // coefficients taken at a time, one a thread
constexpr int kTileCols = 128;  // ... of other runs
constexpr int kSlab = 64;       // coefficients of one stage
constexpr int kPitch = kTileCols + 8;

union Shared {
  struct {
    uint4 z[2][kLoraTileRows * kSlab / 8];
    uint4 up[2][kSlab * kTileCols / 8];
  } stage;
  float sum[kLoraTileRows][kPitch];
  struct {
    float z[2][kDotRanks / 2][4];    // of even and odd coefficients that are not zero in every row
    int16_t rank[2][kDotRanks / 2];  // which they are
    int count[2][kDotRanks / 32];    // how many, per warp
    float half[kLoraDotRows][kDotCols];
  } dot;
};

// The columns of one member inside a piece, and what y is made of there.
struct Stretch {
  LoraTile tile;
  const bf16* up;  // first column of the stretch, first coefficient
  int64_t up_stride;
  int ranks, cols, col_begin;  // col_begin in y
  const bf16* z;               // first row of the tile
  int z_stride;
  const float *out_scale, *out_bias;  // of the first column, or null
  float weight;
  bool fast;
};

__device__ __forceinline__ float Changed(const Stretch& s, float y, float change, int col) {
  y += change;
  if (s.out_scale != nullptr) y *= s.out_scale[col];
  if (s.out_bias != nullptr) y = fmaf(s.weight, s.out_bias[col], y);
  return y;
}

// y[c .. c + kCount) of one row, of which `count` exist.
template <int kCount, class Y>
__device__ __forceinline__ void UpdateRow(const Stretch& s, Y* y, const float (&change)[kCount], int col) {
  y += s.col_begin + col;
#pragma unroll
  for (int i = 0; i < kCount; ++i) {
    if (col + i < s.cols) Narrow(y[i], Changed(s, Widen(y[i]), change[i], col + i));
  }
}
template <class Y>
__device__ __forceinline__ void UpdateRow8(const Stretch& s, Y* y, const float (&change)[8], int col) {
  if (!s.fast) return UpdateRow<8>(s, y, change, col);
  float v[8];
  Load8(v, y + s.col_begin + col);
#pragma unroll
  for (int i = 0; i < 8; ++i) v[i] = Changed(s, v[i], change[i], col + i);
  Store8(y + s.col_begin + col, v);
}
template <class Y>
__device__ __forceinline__ void UpdateRow4(const Stretch& s, Y* y, const float (&change)[4], int col) {
  if (!s.fast) return UpdateRow<4>(s, y, change, col);
  float v[4];
  Load4(v, y + s.col_begin + col);
#pragma unroll
  for (int i = 0; i < 4; ++i) v[i] = Changed(s, v[i], change[i], col + i);
  Store4(y + s.col_begin + col, v);
}

// Lists the coefficients [begin, begin + kDotRanks) that some row has, even and odd ones apart: what a gate
// shut out is never read. In order, so that a row's sum does not depend on the rows beside it.
__device__ void ListCoefficients(Shared& shared, const Stretch& s, int begin) {
  const int j = begin + threadIdx.x, lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  float z[4] = {};
  bool any = false;
  if (j < s.ranks) {
#pragma unroll
    for (int r = 0; r < kLoraDotRows; ++r) {
      if (r < s.tile.rows) z[r] = Widen(s.z[int64_t{r} * s.z_stride + j]);
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
  const bf16* from = s.up + j * s.up_stride + col;
  if (s.fast) return Load8(to, from);
#pragma unroll
  for (int i = 0; i < 8; ++i) to[i] = col + i < s.cols ? Widen(from[i]) : 0;
}

// Up to three rows.
template <class Y>
__device__ void DotStretch(Shared& shared, const Stretch& s, Mat<Y> y) {
  constexpr int kRows = kLoraDotRows;
  const int parity = threadIdx.x / 64, col = threadIdx.x % 64 * 8;
  const bool mine = col < s.cols;
  float sum[kRows][8] = {};
  for (int begin = 0; begin < s.ranks; begin += kDotRanks) {
    __syncthreads();
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
  }
  if (parity == 1) {
#pragma unroll
    for (int r = 0; r < kRows; ++r) Store8(&shared.dot.half[r][col], sum[r]);
  }
  __syncthreads();
  if (parity == 1 || !mine) return;
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
    if (r >= s.tile.rows) break;
    float other[8];
    Load8(other, &shared.dot.half[r][col]);
#pragma unroll
    for (int c = 0; c < 8; ++c) sum[r][c] += other[c];
    UpdateRow8(s, y.row(s.tile.row + r), sum[r], col);
  }
}

// Begins to bring coefficients [slab * kSlab, ...) of z and U.
template <int kRows>
__device__ __forceinline__ void FetchSlab(Shared& shared, const Stretch& s, int slab) {
  constexpr int kZChunks = kSlab / 8, kUpChunks = kTileCols / 8;
  const int stage = slab % 2, ranks = min(kSlab, RoundUp(s.ranks - slab * kSlab, 16));
  for (int i = threadIdx.x; i < kRows * kZChunks; i += kLoraThreads) {
    const int r = i / kZChunks, c = i % kZChunks, j = slab * kSlab + c * 8;
    const bool valid = r < s.tile.rows && j < s.ranks;
    ptx::CopyAsync16(&shared.stage.z[stage][TileAt<kZChunks>(r, c)],
                     valid ? s.z + int64_t{r} * s.z_stride + j : s.z, valid);
  }
  for (int i = threadIdx.x; i < ranks * kUpChunks; i += kLoraThreads) {
    const int r = i / kUpChunks, c = i % kUpChunks, j = slab * kSlab + r;
    const int count = j < s.ranks ? s.cols - c * 8 : 0;
    Fetch8(&shared.stage.up[stage][TileAt<kUpChunks>(r, c)], s.up + j * s.up_stride + c * 8, count, s.up,
           s.fast);
  }
}

// One k16 step: 16 rows of z times kPairs * 16 columns of U.
template <int kPairs>
__device__ __forceinline__ void MultiplyStep(const uint4* z, const uint4* up, int row, int chunk, int step,
                                             float (&sum)[2 * kPairs][4]) {
  const int lane = threadIdx.x % 32;
  uint32_t a[4], b[4];
  ptx::LoadMatrix4(a, &z[TileAt<kSlab / 8>(row + lane % 16, 2 * step + lane / 16)]);
#pragma unroll
  for (int n = 0; n < kPairs; ++n) {
    ptx::LoadMatrix4Transposed(b,
                               &up[TileAt<kTileCols / 8>(step * 16 + lane % 16, chunk + 2 * n + lane / 16)]);
    ptx::MultiplyAdd(sum[2 * n], a, b[0], b[1]);
    ptx::MultiplyAdd(sum[2 * n + 1], a, b[2], b[3]);
  }
}

// A tile. kWarpRows = 4: each warp has 16 rows of it. kWarpRows = 1: each has a quarter of the columns of the
// same 16 rows.
template <int kWarpRows, class Y>
__device__ void MultiplyStretch(Shared& shared, const Stretch& s, Mat<Y> y) {
  constexpr int kPairs = kWarpRows == 4 ? 8 : 2;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int row = kWarpRows == 4 ? warp * 16 : 0, col = kWarpRows == 4 ? 0 : warp * 32;
  const int slabs = CeilDiv(s.ranks, kSlab);
  float sum[2 * kPairs][4] = {};
  if (slabs > 0) FetchSlab<16 * kWarpRows>(shared, s, 0);  // none: a bias alone
  ptx::CommitCopies();
  for (int slab = 0; slab < slabs; ++slab) {
    if (slab + 1 < slabs) FetchSlab<16 * kWarpRows>(shared, s, slab + 1);
    ptx::CommitCopies();
    ptx::WaitCopies<1>();
    __syncthreads();
    const int steps = CeilDiv(min(kSlab, s.ranks - slab * kSlab), 16);
    for (int step = 0; step < steps; ++step) {
      MultiplyStep<kPairs>(shared.stage.z[slab % 2], shared.stage.up[slab % 2], row, col / 8, step, sum);
    }
    __syncthreads();
  }
#pragma unroll
  for (int n = 0; n < 2 * kPairs; ++n) {
    float* at = &shared.sum[row + lane / 4][col + n * 8 + lane % 4 * 2];
    *reinterpret_cast<float2*>(at) = make_float2(sum[n][0], sum[n][1]);
    *reinterpret_cast<float2*>(at + 8 * kPitch) = make_float2(sum[n][2], sum[n][3]);
  }
  __syncthreads();
  for (int r = warp; r < s.tile.rows; r += 4) {
    if (lane * 4 >= s.cols) break;
    float change[4];
    Load4(change, &shared.sum[r][lane * 4]);
    UpdateRow4(s, y.row(s.tile.row + r), change, lane * 4);
  }
}

template <class Y>
__device__ Stretch StretchOf(const LoraRun& run, const LoraTile& tile, const LoraMember& m,
                             const LoraScratch& scratch, Mat<Y> y, int col_begin, int col_end) {
  Stretch s;
  const int begin = max(col_begin, m.out_begin), in_member = begin - m.out_begin;
  s.tile = tile;
  s.up = m.up + in_member;
  s.up_stride = m.out;
  s.ranks = m.rank_begin[m.experts];
  s.col_begin = begin;
  s.cols = min(col_end, m.out_begin + m.out) - begin;
  s.z = scratch.z + int64_t{tile.row} * scratch.z_stride + m.z_begin;
  s.z_stride = scratch.z_stride;
  s.out_scale = m.out_scale != nullptr ? m.out_scale + in_member : nullptr;
  s.out_bias = m.out_bias != nullptr ? m.out_bias + in_member : nullptr;
  s.weight = run.weight;
  s.fast = m.out % 8 == 0 && in_member % 8 == 0 && begin % 8 == 0 && s.cols % 8 == 0 && Aligned16(m.up) &&
           RowsAligned16(y);
  return s;
}

template <class Y>
__global__ void __launch_bounds__(kLoraThreads, 4)
    ExpandKernel(Mat<Y> y, const LoraPlan* plan, LoraSite site, LoraScratch scratch) {
  __shared__ Shared shared;
  const int pieces[3] = {CeilDiv(y.cols, kDotCols), CeilDiv(y.cols, kTileCols), CeilDiv(y.cols, kTileCols)};
  LoraWork work;
  for (int w = blockIdx.x; FindLoraWork(plan, pieces, w, &work); w += gridDim.x) {
    const LoraTile tile = plan->tiles[work.tile];
    const LoraRun& run = plan->runs[tile.run];
    const LoraGroup* group = GroupAt(run, site);
    if (group == nullptr) continue;
    const int cols = work.kind == kShortRun ? kDotCols : kTileCols, begin = work.index * cols;
    for (int i = 0; i < group->member_count; ++i) {
      const LoraMember& m = group->members[i];
      if (m.out_begin >= begin + cols || m.out_begin + m.out <= begin) continue;
      const Stretch s = StretchOf(run, tile, m, scratch, y, begin, begin + cols);
      __syncthreads();  // the stretch before has been read
      if (work.kind == kShortRun) {
        DotStretch(shared, s, y);
      } else if (tile.rows <= 16) {
        MultiplyStretch<1>(shared, s, y);
      } else {
        MultiplyStretch<4>(shared, s, y);
      }
    }
  }
}

template <class Y>
cudaError_t Expand(Mat<Y> y, const LoraPlan* plan, LoraSite site, const LoraScratch& scratch,
                   cudaStream_t stream) {
  if (site.kind < 0 || site.kind >= kLoraMaxKinds || scratch.z_stride % 8 != 0 || !Aligned16(scratch.z)) {
    return cudaErrorInvalidValue;
  }
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
