// u = D x for the tiles of every run, then z. A piece of work is some rows of D times one tile of rows of x
// over one stretch of k. Pieces of a tile that are not the only one leave their sums in global memory; the
// block that arrives last adds them in order and forms z, so that nothing waits for anything.
#include "kernels/cuda/lora_gates.cuh"

namespace hydrad::cuda {
namespace {

constexpr int kDotDown = 16;   // rows of D in a piece of a short run: four a warp
constexpr int kTileDown = 64;  // ... of other runs
constexpr int kSlab = 64;      // k of one stage
constexpr int kChunks = kSlab / 8;
constexpr int kStages = 3;
constexpr int kPitch = 72;  // floats; 8 mod 32, so that four rows of pairs meet no bank twice

union Shared {
  struct {
    uint4 x[kStages][kLoraTileRows * kChunks];
    uint4 d[kStages][kTileDown * kChunks];
  } stage;
  float u[kLoraTileRows][kPitch];
  float part[4][16][kPitch];
  bool last;
};

// k of one split: a function of `in` alone.
__host__ __device__ constexpr int SplitLength(int in) {
  return in <= 512 * kLoraMaxSplits ? 512 : RoundUp(CeilDiv(in, kLoraMaxSplits), kSlab);
}

struct Piece {
  LoraTile tile;
  const bf16* down;  // first row
  int down_count, in;
  int k_begin, k_end;
};

__device__ __forceinline__ uint4 Get8(const bf16* from, int count, bool fast) {
  if (fast) return count > 0 ? *reinterpret_cast<const uint4*>(from) : uint4{};
  uint4 to;
  Fetch8(&to, from, count, from, false);
  return to;
}
__device__ __forceinline__ float Dot2(uint32_t a, uint32_t b, float sum) {
  return fmaf(HighOf(a), HighOf(b), fmaf(LowOf(a), LowOf(b), sum));
}
__device__ __forceinline__ float Dot8(const uint4& a, const uint4& b, float sum) {
  return Dot2(a.w, b.w, Dot2(a.z, b.z, Dot2(a.y, b.y, Dot2(a.x, b.x, sum))));
}

// u[r][d] of up to three rows: each warp has four rows of D, each lane every 32nd vector of k.
__device__ void DotPiece(Shared& shared, const Piece& p, Mat<const bf16> x, bool fast) {
  constexpr int kRows = kLoraDotRows, kEach = kDotDown / 4;
  const int lane = threadIdx.x % 32, first = threadIdx.x / 32 * kEach;
  float sum[kEach][kRows] = {};
#pragma unroll 2
  for (int k = p.k_begin + lane * 8; k < p.k_end; k += 256) {
    uint4 d[kEach];
#pragma unroll
    for (int j = 0; j < kEach; ++j) {
      const int count = first + j < p.down_count ? p.k_end - k : 0;
      d[j] = Get8(p.down + int64_t{first + j} * p.in + k, count, fast);
    }
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      if (r >= p.tile.rows) break;
      const uint4 v = Get8(x.row(p.tile.row + r) + k, p.k_end - k, fast);
#pragma unroll
      for (int j = 0; j < kEach; ++j) sum[j][r] = Dot8(v, d[j], sum[j][r]);
    }
  }
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
#pragma unroll
    for (int j = 0; j < kEach; ++j) {
      const float total = WarpSum(sum[j][r]);
      if (lane == 0) shared.u[r][first + j] = total;
    }
  }
  __syncthreads();
}

// Begins to bring slab `slab` of x and D.
template <int kRows>
__device__ __forceinline__ void FetchSlab(Shared& shared, const Piece& p, Mat<const bf16> x, int slab,
                                          bool fast) {
  const int stage = slab % kStages;
  for (int i = threadIdx.x; i < kRows * kChunks; i += kLoraThreads) {
    const int r = i / kChunks, c = i % kChunks, k = p.k_begin + slab * kSlab + c * 8;
    const int count = r < p.tile.rows ? p.k_end - k : 0;
    Fetch8(&shared.stage.x[stage][TileAt<kChunks>(r, c)], x.row(p.tile.row + r) + k, count, x.data, fast);
  }
  for (int i = threadIdx.x; i < RoundUp(p.down_count, 16) * kChunks; i += kLoraThreads) {
    const int r = i / kChunks, c = i % kChunks, k = p.k_begin + slab * kSlab + c * 8;
    const int count = r < p.down_count ? p.k_end - k : 0;
    Fetch8(&shared.stage.d[stage][TileAt<kChunks>(r, c)], p.down + int64_t{r} * p.in + k, count, p.down,
           fast);
  }
}

// One k16 step: 16 rows of x times all rows of D.
__device__ __forceinline__ void MultiplyStep(const uint4* x, const uint4* d, int row, int step,
                                             int down_count, float (&sum)[8][4]) {
  const int lane = threadIdx.x % 32;
  uint32_t a[4], b[4];
  ptx::LoadMatrix4(a, &x[TileAt<kChunks>(row + lane % 16, 2 * step + lane / 16)]);
#pragma unroll
  for (int n = 0; n < 4; ++n) {
    if (n * 16 >= down_count) break;
    ptx::LoadMatrix4(b, &d[TileAt<kChunks>(n * 16 + lane % 8 + lane / 16 * 8, 2 * step + lane / 8 % 2)]);
    ptx::MultiplyAdd(sum[2 * n], a, b[0], b[1]);
    ptx::MultiplyAdd(sum[2 * n + 1], a, b[2], b[3]);
  }
}

// u[r][d] of a tile. kWarpRows = 4: each warp has 16 rows. kWarpRows = 1: all have the same 16 rows and a
// quarter of every slab, and are added in order.
template <int kWarpRows>
__device__ void MultiplyPiece(Shared& shared, const Piece& p, Mat<const bf16> x, bool fast) {
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int slabs = CeilDiv(p.k_end - p.k_begin, kSlab);
  float sum[8][4] = {};
#pragma unroll
  for (int s = 0; s < kStages - 1; ++s) {
    if (s < slabs) FetchSlab<16 * kWarpRows>(shared, p, x, s, fast);
    ptx::CommitCopies();
  }
  for (int slab = 0; slab < slabs; ++slab) {
    ptx::WaitCopies<kStages - 2>();
    __syncthreads();
    if (slab + kStages - 1 < slabs) FetchSlab<16 * kWarpRows>(shared, p, x, slab + kStages - 1, fast);
    ptx::CommitCopies();
    const uint4* xs = shared.stage.x[slab % kStages];
    const uint4* ds = shared.stage.d[slab % kStages];
    if (kWarpRows == 1) {
      MultiplyStep(xs, ds, 0, warp, p.down_count, sum);
    } else {
#pragma unroll
      for (int step = 0; step < kSlab / 16; ++step) MultiplyStep(xs, ds, warp * 16, step, p.down_count, sum);
    }
  }
  __syncthreads();
  float(*to)[kPitch] = kWarpRows == 1 ? shared.part[warp] : shared.u + warp * 16;
#pragma unroll
  for (int n = 0; n < 8; ++n) {
    float* at = &to[lane / 4][n * 8 + lane % 4 * 2];
    *reinterpret_cast<float2*>(at) = make_float2(sum[n][0], sum[n][1]);
    *reinterpret_cast<float2*>(at + 8 * kPitch) = make_float2(sum[n][2], sum[n][3]);
  }
  __syncthreads();
  if constexpr (kWarpRows == 4) return;
  for (int i = threadIdx.x; i < 16 * kTileDown; i += kLoraThreads) {
    const int r = i / kTileDown, c = i % kTileDown;
    shared.u[r][c] =
        shared.part[0][r][c] + shared.part[1][r][c] + shared.part[2][r][c] + shared.part[3][r][c];
  }
  __syncthreads();
}

// Leaves the piece's sums in global memory. True for the block that completes the tile.
__device__ bool LeavePartial(Shared& shared, const Piece& p, float* u, int u_stride, int32_t* arrivals,
                             int pieces) {
  for (int i = threadIdx.x; i < p.tile.rows * p.down_count; i += kLoraThreads) {
    const int r = i / p.down_count, d = i % p.down_count;
    u[int64_t{p.tile.row + r} * u_stride + d] = shared.u[r][d];
  }
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) {
    shared.last = atomicAdd(arrivals, 1) == pieces - 1;
    __threadfence();
    if (shared.last) *arrivals = 0;
  }
  __syncthreads();
  return shared.last;
}

__global__ void __launch_bounds__(kLoraThreads, 4)
    ShrinkKernel(const LoraPlan* plan, LoraSite site, Mat<const bf16> x, LoraScratch scratch) {
  __shared__ Shared shared;
  const int most = plan->down_rows[site.kind], length = SplitLength(x.cols), splits = CeilDiv(x.cols, length);
  const int pieces[3] = {CeilDiv(most, kDotDown) * splits, CeilDiv(most, kTileDown) * splits,
                         CeilDiv(most, kTileDown)};
  LoraWork work;
  for (int w = blockIdx.x; FindLoraWork(plan, pieces, w, &work); w += gridDim.x) {
    const LoraTile tile = plan->tiles[work.tile];
    const LoraRun& run = plan->runs[tile.run];
    const LoraGroup* group = GroupAt(run, site);
    const int of_splits = work.kind == kLongRun ? 1 : splits,
              rows_of_d = work.kind == kShortRun ? kDotDown : kTileDown;
    const int down_begin = work.index / of_splits * rows_of_d, split = work.index % of_splits;
    if (group == nullptr || down_begin >= group->down_rows) continue;
    const Piece p{tile,
                  group->down + int64_t{down_begin} * group->in,
                  min(rows_of_d, group->down_rows - down_begin),
                  group->in,
                  split * length,
                  of_splits == 1 ? x.cols : min(x.cols, (split + 1) * length)};
    const bool fast = x.cols % 8 == 0 && RowsAligned16(x) && Aligned16(group->down);
    __syncthreads();  // the piece before has been read
    if (work.kind == kShortRun) {
      DotPiece(shared, p, x, fast);
    } else if (tile.rows <= 16) {
      MultiplyPiece<1>(shared, p, x, fast);
    } else {
      MultiplyPiece<4>(shared, p, x, fast);
    }
    const int all = CeilDiv(group->down_rows, rows_of_d) * of_splits;
    if (all == 1) {
      FormZ(run, tile, *group, SharedU{&shared.u[0][0], kPitch}, scratch);
      continue;
    }
    const int64_t split_stride = int64_t{scratch.rows} * scratch.u_stride;
    if (LeavePartial(shared, p, scratch.u + split * split_stride + down_begin, scratch.u_stride,
                     scratch.arrivals + work.tile, all)) {
      const GlobalU u{scratch.u + int64_t{tile.row} * scratch.u_stride, scratch.u_stride, split_stride,
                      of_splits};
      FormZ(run, tile, *group, u, scratch);
    }
  }
}

}  // namespace

cudaError_t LoraShrink(const LoraPlan* plan, LoraSite site, Mat<const bf16> x, const LoraScratch& scratch,
                       cudaStream_t stream) {
  if (site.kind < 0 || site.kind >= kLoraMaxKinds || scratch.rows < x.rows) return cudaErrorInvalidValue;
  if (x.rows == 0) return cudaSuccess;
  return Launch(ShrinkKernel, scratch.blocks, kLoraThreads, 0, stream, plan, site, x, scratch);
}

}  // namespace hydrad::cuda
