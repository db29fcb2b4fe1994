// y += U^T z for long runs whose gates pick some of their experts. Their rows are taken in another order,
// those that picked alike side by side; a tile reads and a warp multiplies only what some row of theirs
// picked.
//
// What is left out is zero in every row of them, and a product with zero leaves a sum as it is: a row has the
// bits that LoraExpand gives it, whatever rows stand beside it.
#include "kernels/cuda/lora_gates.cuh"
#include "kernels/cuda/lora_product.cuh"

namespace hydrad::cuda {
namespace {

constexpr int kBins = 256;

// ---- The order ----

struct RegroupShared {
  Table<LoraPlan> plan;
  LoraTables tables;
  Table<LoraMember> member;
  int start[kBins];
  bool last;
};

// The experts of which the row has a coefficient that is not zero; expert e is bit e % 64. To every lane.
__device__ uint64_t PickedBy(const LoraMember& m, const bf16* z) {
  uint64_t picked = 0;
  for (int e = threadIdx.x % 32; e < m.experts; e += 32) {
    unsigned bits = 0;
    for (int j = m.rank_begin[e]; j < m.rank_begin[e + 1]; ++j) bits |= z[j].bits & 0x7fffu;
    if (bits != 0) picked |= uint64_t{1} << e % 64;
  }
#pragma unroll
  for (int step = 1; step < 32; step *= 2) picked |= __shfl_xor_sync(kAllLanes, picked, step);
  return picked;
}

// Rows are put in the order of their first two experts; with many experts, of their first.
__device__ __forceinline__ int BinOf(uint64_t picked, int experts) {
  const uint64_t rest = picked & (picked - 1);
  const int first = picked != 0 ? __ffsll(static_cast<long long>(picked)) - 1 : 63;
  const int second = rest != 0 ? __ffsll(static_cast<long long>(rest)) - 1 : 63;
  return experts <= 15 ? min(first, 15) * 16 + min(second, 15) : first;
}

// Counts the run's rows by bin, adds the counts up, and gives every row its place. Rows of a bin stand in any
// order. By all threads together.
__device__ void OrderRun(RegroupShared& shared, const uint64_t* picked, int32_t* order) {
  const LoraRun& run = *shared.tables.run;
  const int rows = run.row_end - run.row_begin, experts = shared.member->experts, lane = threadIdx.x;
  for (int bin = threadIdx.x; bin < kBins; bin += kLoraThreads) shared.start[bin] = 0;
  __syncthreads();
  for (int i = threadIdx.x; i < rows; i += kLoraThreads) {
    atomicAdd(&shared.start[BinOf(__ldcg(picked + i), experts)], 1);
  }
  __syncthreads();
  if (lane < 32) {
    int sum = 0, before[kBins / 32];
#pragma unroll
    for (int i = 0; i < kBins / 32; ++i) {
      before[i] = sum;
      sum += shared.start[lane * (kBins / 32) + i];
    }
    int begin = sum;
#pragma unroll
    for (int step = 1; step < 32; step *= 2) {
      const int other = __shfl_up_sync(kAllLanes, begin, step);
      if (lane >= step) begin += other;
    }
#pragma unroll
    for (int i = 0; i < kBins / 32; ++i) {
      shared.start[lane * (kBins / 32) + i] = begin - sum + before[i];
    }
  }
  __syncthreads();
  for (int i = threadIdx.x; i < rows; i += kLoraThreads) {
    order[atomicAdd(&shared.start[BinOf(__ldcg(picked + i), experts)], 1)] = run.row_begin + i;
  }
}

// The picks of one tile's rows for member `index`; the block that brings the run's last orders the run.
__device__ void RegroupMember(RegroupShared& shared, const LoraScratch& scratch, const LoraRegrouped& to,
                              int index) {
  __syncthreads();
  shared.member.Read(shared.tables.group->members + index);
  __syncthreads();
  const LoraTile& tile = *shared.tables.tile;
  const LoraRun& run = *shared.tables.run;
  uint64_t* picked = to.picked + int64_t{index} * to.rows;
  for (int row = tile.row + threadIdx.x / 32; row < tile.row + tile.rows; row += kLoraThreads / 32) {
    const uint64_t mask =
        PickedBy(*shared.member, scratch.z + int64_t{row} * scratch.z_stride + shared.member->z_begin);
    if (threadIdx.x % 32 == 0) picked[row] = mask;
  }
  __threadfence();
  __syncthreads();
  int32_t* arrivals = to.arrivals + int64_t{index} * to.rows + run.row_begin;
  if (threadIdx.x == 0) {
    shared.last = atomicAdd(arrivals, 1) + 1 == CeilDiv(run.row_end - run.row_begin, kLoraTileRows);
  }
  __syncthreads();
  if (!shared.last) return;
  __threadfence();
  OrderRun(shared, picked + run.row_begin, to.order + int64_t{index} * to.rows + run.row_begin);
  if (threadIdx.x == 0) *arrivals = 0;
}

__global__ void __launch_bounds__(kLoraThreads)
    RegroupKernel(const LoraPlan* plan, LoraSite site, const __grid_constant__ LoraScratch scratch,
                  const __grid_constant__ LoraRegrouped to) {
  __shared__ RegroupShared shared;
  shared.plan.Read(plan);
  __syncthreads();
  const int tiles = shared.plan->tile_count[kSplitRun] + shared.plan->tile_count[kLongRun];
  for (int tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
    if (!shared.tables.Read(*shared.plan, shared.plan->tile_count[kShortRun] + tile, site)) continue;
    for (int m = 0; m < shared.tables.group->member_count; ++m) RegroupMember(shared, scratch, to, m);
  }
}

// ---- The product ----

// Steps of 16 coefficients that are looked at together.
constexpr int kListedSteps = kLoraThreads;

struct RegroupedShared {
  ExpandShared expand;
  int32_t rows[kLoraTileRows];  // of y and z, in the run's order
  unsigned picked[4][2];        // by any of each warp's sixteen: the lower and the upper half
  int16_t steps[kListedSteps];  // that some row of the tile has a part in, ascending
  uint8_t warps[kListedSteps];  // the warps whose rows have, a bit each
  int count[kLoraThreads / 32];
};

// The tile's rows, and what they picked of the member at hand. A barrier lies before.
__device__ void ReadRows(RegroupedShared& shared, const LoraRegrouped& from, int member) {
  const LoraTile& tile = *shared.expand.tables.tile;
  const int64_t base = int64_t{member} * from.rows;
  if (threadIdx.x < 8) shared.picked[threadIdx.x / 2][threadIdx.x % 2] = 0;
  __syncthreads();
  if (threadIdx.x < tile.rows) {
    const int32_t row = from.order[base + tile.row + threadIdx.x];
    const uint64_t picked = from.picked[base + row];
    shared.rows[threadIdx.x] = row;
    atomicOr(&shared.picked[threadIdx.x / 16][0], static_cast<unsigned>(picked));
    atomicOr(&shared.picked[threadIdx.x / 16][1], static_cast<unsigned>(picked >> 32));
  }
  __syncthreads();
}

// The warps that picked an expert with coefficients of step `step`, a bit each.
__device__ unsigned PickedIn(const RegroupedShared& shared, int step) {
  const LoraMember& m = *shared.expand.member;
  unsigned warps = 0;
  for (int e = ExpertOf(m, step * kStepRanks); e < m.experts && m.rank_begin[e] < (step + 1) * kStepRanks;
       ++e) {
#pragma unroll
    for (int w = 0; w < 4; ++w) warps |= (shared.picked[w][e % 64 / 32] >> e % 32 & 1) << w;
  }
  return warps;
}

// Lists the steps from `first` on that count, in order, and returns how many.
__device__ int ListSteps(RegroupedShared& shared, int first, int steps) {
  const int step = first + threadIdx.x, lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const unsigned picked = step < steps ? PickedIn(shared, step) : 0;
  const unsigned alive = __ballot_sync(kAllLanes, picked != 0);
  __syncthreads();  // the list before has been used
  if (lane == 0) shared.count[warp] = __popc(alive);
  __syncthreads();
  int at = __popc(alive & ((1u << lane) - 1)), all = 0;
  for (int w = 0; w < kLoraThreads / 32; ++w) {
    if (w < warp) at += shared.count[w];
    all += shared.count[w];
  }
  if (picked != 0) {
    shared.steps[at] = static_cast<int16_t>(threadIdx.x);
    shared.warps[at] = static_cast<uint8_t>(picked);
  }
  __syncthreads();
  return all;
}

// Adds the products of the listed steps, those of a slab one behind the other.
__device__ void MultiplyListed(ExpandStages<4>& stages, const RegroupedShared& shared, const Stretch& s,
                               int first, int listed, float (&sum)[8][4]) {
  constexpr int kSteps = kSlab / kStepRanks;
  const int warp = threadIdx.x / 32;
  const auto steps_of = [&](int slab) { return min(kSteps, listed - slab * kSteps); };
  ForEachSlab(
      CeilDiv(listed, kSteps),
      [&](int slab, int stage) {
        FetchSteps(
            stages, s, stage, steps_of(slab), false, [&](int r) { return shared.rows[r]; },
            [&](int i) {
              const int step = first + shared.steps[slab * kSteps + i / kStepRanks];
              return step * kStepRanks + i % kStepRanks;
            });
      },
      [&](int slab, int stage) {
        for (int step = 0; step < steps_of(slab); ++step) {
          if ((shared.warps[slab * kSteps + step] >> warp & 1) == 0) continue;
          MultiplyStep<4, ExpandStages<4>::kCols / 8>(stages.z[stage], stages.up[stage], warp * 16, 0, step,
                                                      sum);
        }
      });
}

// Columns of the member at hand, for the tile's rows.
__device__ void ExpandListed(RegroupedShared& shared, const Stretch& s, Mat<bf16> y) {
  ExpandStages<4>& stages = shared.expand.wide;
  const int steps = CeilDiv(s.ranks(), kStepRanks);
  float sum[8][4] = {};
  for (int first = 0; first < steps; first += kListedSteps) {
    const int listed = ListSteps(shared, first, steps);
    MultiplyListed(stages, shared, s, first, listed, sum);
  }
  AddSums(stages, s, y, threadIdx.x / 32 * 16, 0, sum, [&](int r) { return shared.rows[r]; });
}

// Every member that has columns in [begin, end) of y.
__device__ void ExpandPiece(RegroupedShared& shared, const LoraScratch& scratch, const LoraRegrouped& from,
                            Mat<bf16> y, int begin, int end) {
  for (int index = 0; index < shared.expand.tables.group->member_count; ++index) {
    ReadMember(shared.expand, index);
    const LoraMember& m = *shared.expand.member;
    const int first = max(begin, m.out_begin) - m.out_begin,
              last = min(end, m.out_begin + m.out) - m.out_begin;
    if (first >= last) continue;
    ReadRows(shared, from, index);
    ExpandListed(shared, StretchOf(shared.expand, scratch, y, first, last), y);
  }
}

__global__ void __launch_bounds__(kLoraThreads, kLoraBlocks)
    ExpandRegroupedKernel(const __grid_constant__ Mat<bf16> y, const LoraPlan* plan, LoraSite site,
                          const __grid_constant__ LoraScratch scratch,
                          const __grid_constant__ LoraRegrouped from) {
  __shared__ RegroupedShared shared;
  shared.expand.plan.Read(plan);
  __syncthreads();
  const LoraPlan& p = *shared.expand.plan;
  constexpr int kCols = ExpandStages<4>::kCols;
  const int pieces = CeilDiv(y.cols, kCols);
  int first_block = 0, tile = -1;
  bool changed = false;
  const LoraShare share =
      TakeShare((p.tile_count[kSplitRun] + p.tile_count[kLongRun]) * pieces, &first_block);
  for (int w = share.begin; w < share.end; ++w) {
    if (w / pieces != tile) {
      tile = w / pieces;
      changed = shared.expand.tables.Read(p, p.tile_count[kShortRun] + tile, site);
    }
    const int begin = w % pieces * kCols;
    if (changed) ExpandPiece(shared, scratch, from, y, begin, begin + kCols);
  }
}

}  // namespace

cudaError_t LoraRegroup(const LoraPlan* plan, LoraSite site, const LoraScratch& scratch,
                        const LoraRegrouped& to, cudaStream_t stream) {
  if (!InRange(site, scratch)) return cudaErrorInvalidValue;
  return Launch(RegroupKernel, scratch.blocks, kLoraThreads, 0, stream, plan, site, scratch, to);
}

cudaError_t LoraExpandRegrouped(Mat<bf16> y, const LoraPlan* plan, LoraSite site, const LoraScratch& scratch,
                                const LoraRegrouped& from, cudaStream_t stream) {
  if (!InRange(site, scratch)) return cudaErrorInvalidValue;
  if (y.rows == 0) return cudaSuccess;
  return Launch(ExpandRegroupedKernel, scratch.blocks, kLoraThreads, 0, stream, y, plan, site, scratch, from);
}

}  // namespace hydrad::cuda
