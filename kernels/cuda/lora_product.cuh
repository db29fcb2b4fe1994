// The product of z with U on tensor cores: a tile of 16 * kWarpRows rows, kSlab coefficients at a time in two
// stages, one of which is filled while the other is multiplied. Which rows and which coefficients are taken,
// and in which order, is the caller's.
#ifndef HYDRAD_KERNELS_CUDA_LORA_PRODUCT_CUH_
#define HYDRAD_KERNELS_CUDA_LORA_PRODUCT_CUH_

#include "kernels/cuda/lora_stretch.cuh"

namespace hydrad::cuda {

// Coefficients of one mma.
inline constexpr int kStepRanks = 16;

// Begins to bring `steps` steps to stage `stage`: row_of(r) is the row of z of row r of the tile, and
// coefficient(i) that of place i of the stage, consecutive within a step. Those beyond the member's are
// zeros.
template <int kWarpRows, class RowOf, class Coefficient>
__device__ __forceinline__ void FetchSteps(ExpandStages<kWarpRows>& stages, const Stretch& s, int stage,
                                           int steps, bool z_is_there, const RowOf& row_of,
                                           const Coefficient& coefficient) {
  using S = ExpandStages<kWarpRows>;
  constexpr int kZChunks = kSlab / 8, kUpChunks = S::kCols / 8;
  for (int i = threadIdx.x; i < S::kRows * kZChunks && !z_is_there; i += kLoraThreads) {
    const int r = i / kZChunks, c = i % kZChunks;
    if (c * 8 >= steps * kStepRanks) continue;
    const int j = coefficient(c * 8);
    const bool valid = r < s.tile().rows && j < s.ranks();
    ptx::CopyAsync16(&stages.z[stage][TileAt<kZChunks>(r, c)], valid ? s.z(row_of(r), j) : s.scratch.z,
                     valid);
  }
  for (int i = threadIdx.x; i < steps * kStepRanks * kUpChunks; i += kLoraThreads) {
    const int r = i / kUpChunks, c = i % kUpChunks, j = coefficient(r);
    const int count = j < s.ranks() ? s.cols - c * 8 : 0;
    Fetch8(&stages.up[stage][TileAt<kUpChunks>(r, c)], s.up(j) + c * 8, count, s.up(0), s.fast);
  }
}

// fetch(slab, stage) begins to bring a slab, multiply(slab, stage) uses it once it is there. Ends with a
// barrier, unless there are no slabs: a change without coefficients is a bias alone.
template <class Fetch, class Multiply>
__device__ __forceinline__ void ForEachSlab(int slabs, const Fetch& fetch, const Multiply& multiply) {
  if (slabs > 0) fetch(0, 0);
  ptx::CommitCopies();
  for (int slab = 0; slab < slabs; ++slab) {
    if (slab + 1 < slabs) fetch(slab + 1, (slab + 1) % 2);
    ptx::CommitCopies();
    ptx::WaitCopies<1>();
    __syncthreads();
    multiply(slab, slab % 2);
    __syncthreads();
  }
}

// One k16 step: 16 rows of z times kPairs * 16 columns of U.
template <int kPairs, int kUpChunks>
__device__ __forceinline__ void MultiplyStep(const uint4* z, const uint4* up, int row, int chunk, int step,
                                             float (&sum)[2 * kPairs][4]) {
  const int lane = threadIdx.x % 32;
  uint32_t a[4], b[4];
  ptx::LoadMatrix4(a, &z[TileAt<kSlab / 8>(row + lane % 16, 2 * step + lane / 16)]);
#pragma unroll
  for (int n = 0; n < kPairs; ++n) {
    ptx::LoadMatrix4Transposed(
        b, &up[TileAt<kUpChunks>(step * kStepRanks + lane % 16, chunk + 2 * n + lane / 16)]);
    ptx::MultiplyAdd(sum[2 * n], a, b[0], b[1]);
    ptx::MultiplyAdd(sum[2 * n + 1], a, b[2], b[3]);
  }
}

// y += the sums, of which the warp's begin at row `row` and column `col` of the tile; row_of(r) is the row of
// y of row r. Overwrites the stages of U, which nobody may be reading.
template <int kWarpRows, int kTiles, class Y, class RowOf>
__device__ __forceinline__ void AddSums(ExpandStages<kWarpRows>& stages, const Stretch& s, Mat<Y> y, int row,
                                        int col, const float (&sum)[kTiles][4], const RowOf& row_of) {
  constexpr int kQuads = ExpandStages<kWarpRows>::kCols / 4;
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int n = 0; n < kTiles; ++n) {
    const int c = col + n * 8 + lane % 4 * 2;
    ptx::StorePair(stages.Sum(row + lane / 4, c), sum[n][0], sum[n][1]);
    ptx::StorePair(stages.Sum(row + lane / 4 + 8, c), sum[n][2], sum[n][3]);
  }
  __syncthreads();
  for (int i = threadIdx.x; i < s.tile().rows * kQuads; i += kLoraThreads) {
    const int r = i / kQuads, c = i % kQuads * 4;
    if (c >= s.cols) continue;
    float change[4];
    Load4(change, stages.Sum(r, c));
    UpdateRow(s, s.at(y, row_of(r), c), change, c);
  }
}

}  // namespace hydrad::cuda

#endif  // HYDRAD_KERNELS_CUDA_LORA_PRODUCT_CUH_
