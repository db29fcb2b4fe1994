// u = D x for the tiles of every run, then z. A piece of work is some rows of D times one tile of rows of x
// over one stretch of k. Pieces of a tile that are not the only one leave their sums in global memory; the
// block that arrives last adds them in order and forms z, so that nothing waits for anything.
#include "kernels/cuda/lora_gates.cuh"

namespace hydrad::cuda {
namespace {

constexpr int kDotDown = 16;     // rows of D in a piece of a short run: four a warp
constexpr int kDotLength = 512;  // k taken at a time
constexpr int kTileDown = 64;    // ... rows of D of other runs
constexpr int kSlab = 64;        // k of one stage
constexpr int kChunks = kSlab / 8;
constexpr int kStages = 3;
constexpr int kPitch = 72;  // floats; 8 mod 32, so that four rows of pairs meet no bank twice

// k of one split: a function of `in` alone.
__host__ __device__ constexpr int SplitLength(int in) {
  return in <= 512 * kLoraMaxSplits ? 512 : RoundUp(CeilDiv(in, kLoraMaxSplits), kSlab);
}

// A piece of work.
struct Piece {
  int row, rows;     // of x
  const bf16* down;  // first row of D
  int down_begin, down_count, in;
  int split, k_begin, k_end;
  int count;  // pieces of the tile
  bool fast;  // all is aligned
};

// Tables and piece are here and not in registers, of which the products need nearly all.
struct Shared {
  union {
    struct {
      uint4 x[kStages][kLoraTileRows * kChunks];
      uint4 d[kStages][kTileDown * kChunks];
    } stage;
    struct {
      union {
        float u[kLoraTileRows][kPitch];
        float part[4][16][kPitch];
      };
      uint4 dot_x[2][kLoraDotRows][kDotLength / 8];
    };
  };
  Table<LoraPlan> plan;
  LoraTables tables;
  GateTables gates;
  Piece piece;
  bool last;
};

__device__ __forceinline__ float Dot2(uint32_t a, uint32_t b, float sum) {
  return fmaf(HighOf(a), HighOf(b), fmaf(LowOf(a), LowOf(b), sum));
}
__device__ __forceinline__ float Dot8(const uint4& a, const uint4& b, float sum) {
  return Dot2(a.w, b.w, Dot2(a.z, b.z, Dot2(a.y, b.y, Dot2(a.x, b.x, sum))));
}

// u[r][d] of up to three aligned rows: each warp has four rows of D, each lane every 32nd vector of k. The
// rows of x pass through shared memory, while each row of D is read by one warp alone.
__device__ void DotPiece(Shared& shared, Mat<const bf16> x) {
  const Piece& p = shared.piece;
  constexpr int kRows = kLoraDotRows, kEach = kDotDown / 4, kVectors = kDotLength / 8, kTimes = kVectors / 32;
  const int lane = threadIdx.x % 32, first = threadIdx.x / 32 * kEach;
  float sum[kEach][kRows] = {};
  int turn = 0;
  for (int begin = p.k_begin; begin < p.k_end; begin += kDotLength) {
    for (int i = threadIdx.x; i < p.rows * kVectors; i += kLoraThreads) {
      const int r = i / kVectors, k = begin + i % kVectors * 8;
      const bool valid = k < p.k_end;
      ptx::CopyAsync16(&shared.dot_x[turn][r][i % kVectors], valid ? x.row(p.row + r) + k : x.data, valid);
    }
    ptx::CommitCopies();
    uint4 d[kTimes][kEach];
#pragma unroll
    for (int t = 0; t < kTimes; ++t) {
      const int k = begin + (t * 32 + lane) * 8;
      const bf16* row = p.down + int64_t{first} * p.in + k;
#pragma unroll
      for (int j = 0; j < kEach; ++j) {
        const bool valid = first + j < p.down_count && k < p.k_end;
        d[t][j] = valid ? *reinterpret_cast<const uint4*>(row + int64_t{j} * p.in) : uint4{};
      }
    }
    ptx::WaitCopies<0>();
    __syncthreads();
#pragma unroll
    for (int t = 0; t < kTimes; ++t) {
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
        if (r >= p.rows) break;
        const uint4 v = shared.dot_x[turn][r][t * 32 + lane];
#pragma unroll
        for (int j = 0; j < kEach; ++j) sum[j][r] = Dot8(v, d[t][j], sum[j][r]);
      }
    }
    turn ^= 1;  // what others still read is written again after the next barrier
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
__device__ __forceinline__ void FetchSlab(Shared& shared, Mat<const bf16> x, int slab) {
  const Piece& p = shared.piece;
  const int stage = slab % kStages;
  for (int i = threadIdx.x; i < kRows * kChunks; i += kLoraThreads) {
    const int r = i / kChunks, c = i % kChunks, k = p.k_begin + slab * kSlab + c * 8;
    const int count = r < p.rows ? p.k_end - k : 0;
    Fetch8(&shared.stage.x[stage][TileAt<kChunks>(r, c)], x.row(p.row + r) + k, count, x.data, p.fast);
  }
  for (int i = threadIdx.x; i < RoundUp(p.down_count, 16) * kChunks; i += kLoraThreads) {
    const int r = i / kChunks, c = i % kChunks, k = p.k_begin + slab * kSlab + c * 8;
    const int count = r < p.down_count ? p.k_end - k : 0;
    Fetch8(&shared.stage.d[stage][TileAt<kChunks>(r, c)], p.down + int64_t{r} * p.in + k, count, p.down,
           p.fast);
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
__device__ void MultiplyPiece(Shared& shared, Mat<const bf16> x) {
  const Piece& p = shared.piece;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int slabs = CeilDiv(p.k_end - p.k_begin, kSlab);
  float sum[8][4] = {};
#pragma unroll
  for (int s = 0; s < kStages - 1; ++s) {
    if (s < slabs) FetchSlab<16 * kWarpRows>(shared, x, s);
    ptx::CommitCopies();
  }
  for (int slab = 0; slab < slabs; ++slab) {
    ptx::WaitCopies<kStages - 2>();
    __syncthreads();
    if (slab + kStages - 1 < slabs) FetchSlab<16 * kWarpRows>(shared, x, slab + kStages - 1);
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
    ptx::StorePair(at, sum[n][0], sum[n][1]);
    ptx::StorePair(at + 8 * kPitch, sum[n][2], sum[n][3]);
  }
  __syncthreads();
  if constexpr (kWarpRows == 1) {
    for (int i = threadIdx.x; i < 16 * kTileDown; i += kLoraThreads) {
      const int r = i / kTileDown, c = i % kTileDown;
      shared.u[r][c] =
          shared.part[0][r][c] + shared.part[1][r][c] + shared.part[2][r][c] + shared.part[3][r][c];
    }
    __syncthreads();
  }
}

// Leaves the piece's sums in global memory. True for the block that completes the tile.
__device__ bool LeavePartial(Shared& shared, const LoraScratch& scratch, int32_t* arrivals) {
  const Piece& p = shared.piece;
  float* u = scratch.u + (int64_t{p.split} * scratch.rows + p.row) * scratch.u_stride + p.down_begin;
  for (int i = threadIdx.x; i < p.rows * p.down_count; i += kLoraThreads) {
    const int r = i / p.down_count, d = i % p.down_count;
    u[int64_t{r} * scratch.u_stride + d] = shared.u[r][d];
  }
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) {
    shared.last = atomicAdd(arrivals, 1) == p.count - 1;
    __threadfence();
    if (shared.last) *arrivals = 0;
  }
  __syncthreads();
  return shared.last;
}

// Piece `index` of a tile of class `kind` whose tables have been read; one over `splits` stretches of
// `length`.
__device__ Piece PieceOf(const LoraTables& tables, LoraTileClass kind, Mat<const bf16> x, int index,
                         int splits, int length) {
  const LoraGroup& group = *tables.group;
  const int each = kind == kShortRun ? kDotDown : kTileDown;
  Piece p;
  p.row = tables.tile->row;
  p.rows = tables.tile->rows;
  p.in = group.in;
  p.down_begin = index / splits * each;
  p.down_count = min(each, group.down_rows - p.down_begin);
  p.down = group.down + int64_t{p.down_begin} * p.in;
  p.split = index % splits;
  p.k_begin = p.split * length;
  p.k_end = splits == 1 ? x.cols : min(x.cols, p.k_begin + length);
  p.count = CeilDiv(group.down_rows, each) * splits;
  p.fast = x.cols % 8 == 0 && RowsAligned16(x) && Aligned16(group.down);
  return p;
}

// The piece of shared.piece, of tile `tile`.
__device__ void ShrinkPiece(Shared& shared, LoraTileClass kind, int tile, int splits, Mat<const bf16> x,
                            const LoraScratch& scratch) {
  const Piece& p = shared.piece;
  if (kind == kShortRun && p.fast) {
    DotPiece(shared, x);
  } else if (p.rows <= 16) {
    MultiplyPiece<1>(shared, x);
  } else {
    MultiplyPiece<4>(shared, x);
  }
  if (p.count == 1) {
    FormZ(shared.tables, shared.gates, SharedU{&shared.u[0][0], kPitch}, scratch);
  } else if (LeavePartial(shared, scratch, scratch.arrivals + tile)) {
    const GlobalU u{scratch.u + int64_t{p.row} * scratch.u_stride, scratch.u_stride,
                    int64_t{scratch.rows} * scratch.u_stride, splits};
    FormZ(shared.tables, shared.gates, u, scratch);
  }
}

__global__ void __launch_bounds__(kLoraThreads, kLoraBlocks)
    ShrinkKernel(const LoraPlan* plan, LoraSite site, const __grid_constant__ Mat<const bf16> x,
                 const __grid_constant__ LoraScratch scratch) {
  extern __shared__ uint4 memory[];
  Shared& shared = *reinterpret_cast<Shared*>(memory);
  shared.plan.Read(plan);
  __syncthreads();
  const int most = shared.plan->down_rows[site.kind], length = SplitLength(x.cols);
  int first_tile = 0, first_block = 0, tile = -1;
  bool changed = false;  // whether the tile's adapter is at the site
  for (int kind = 0; kind < 3; ++kind) {
    const int tiles = shared.plan->tile_count[kind], splits = kind == kLongRun ? 1 : CeilDiv(x.cols, length);
    const int pieces = CeilDiv(most, kind == kShortRun ? kDotDown : kTileDown) * splits;
    const LoraShare share = TakeShare(tiles * pieces, &first_block);
    for (int w = share.begin; w < share.end; ++w) {
      if (const int next = first_tile + w / pieces; next != tile) {
        tile = next;
        changed = shared.tables.Read(*shared.plan, tile, site);
      }
      if (!changed) continue;
      __syncthreads();  // the piece before is done
      const auto of = static_cast<LoraTileClass>(kind);
      if (threadIdx.x == 0) shared.piece = PieceOf(shared.tables, of, x, w % pieces, splits, length);
      __syncthreads();
      if (shared.piece.down_count > 0) ShrinkPiece(shared, of, tile, splits, x, scratch);
    }
    first_tile += tiles;
  }
}

}  // namespace

cudaError_t LoraShrink(const LoraPlan* plan, LoraSite site, Mat<const bf16> x, const LoraScratch& scratch,
                       cudaStream_t stream) {
  if (site.kind < 0 || site.kind >= kLoraMaxKinds || scratch.rows < x.rows) return cudaErrorInvalidValue;
  if (x.rows == 0) return cudaSuccess;
  return Launch(ShrinkKernel, scratch.blocks, kLoraThreads, sizeof(Shared), stream, plan, site, x, scratch);
}

}  // namespace hydrad::cuda
