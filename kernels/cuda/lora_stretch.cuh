// What the expand kernels hold in shared memory, and the columns of one member that they change at a time.
//
// A piece is some columns of one member for one tile; a stretch is what of a piece is computed at once. An
// element of y is read, changed and rounded once, by one thread.
#ifndef HYDRAD_KERNELS_CUDA_LORA_STRETCH_CUH_
#define HYDRAD_KERNELS_CUDA_LORA_STRETCH_CUH_

#include "kernels/cuda/lora_work.cuh"

namespace hydrad::cuda {

// Columns of a piece: of a short run eight a thread, by two halves of the ranks; of others.
inline constexpr int kDotCols = 512, kPieceCols = 128;
// Coefficients taken at a time: one a thread; a stage.
inline constexpr int kDotRanks = 128, kSlab = 64;

// Stages of a tile of 16 * kWarpRows rows and kCols columns. The sums overwrite U and leave z: the next
// columns of the same member find it there.
template <int kWarpRows>
struct ExpandStages {
  static constexpr int kRows = 16 * kWarpRows, kCols = kWarpRows == 4 ? 64 : kPieceCols;
  uint4 z[2][kRows * kSlab / 8];
  union {
    uint4 up[2][kSlab * kCols / 8];
    float sum[kRows * kCols];
  };

  // Column `col` of row `row` of the sums: four consecutive rows keep eight columns in different banks.
  __device__ __forceinline__ float* Sum(int row, int col) { return &sum[row * kCols + (col ^ row % 4 * 8)]; }
};

struct ExpandShared {
  union {
    ExpandStages<4> wide;
    ExpandStages<1> narrow;
    struct {
      float z[2][kDotRanks / 2][4];    // of even and odd coefficients that are not zero in every row
      int16_t rank[2][kDotRanks / 2];  // which they are
      int count[2][kDotRanks / 32];    // how many, per warp
      float4 half[kLoraDotRows][2][kDotCols / 8];  // four columns each
    } dot;
  };
  Table<LoraPlan> plan;
  LoraTables tables;
  Table<LoraMember> member;
  int ranks;  // of the member
};

// The columns of the member at hand inside a piece, and where what y is made of lies. Rows are those of the
// batch. It refers to `shared`, whose tables and member must not change meanwhile.
struct Stretch {
  const ExpandShared& shared;
  const LoraScratch& scratch;
  int begin, cols;  // in the member
  bool fast;        // eight columns can be read and written at a time

  __device__ __forceinline__ const LoraTile& tile() const { return *shared.tables.tile; }
  __device__ __forceinline__ int ranks() const { return shared.ranks; }
  // Row j of U, from the stretch's first column on; coefficient j of row `row` of z; column `col` of the
  // stretch in row `row` of y.
  __device__ __forceinline__ const bf16* up(int j) const {
    return shared.member->up + int64_t{j} * shared.member->out + begin;
  }
  __device__ __forceinline__ const bf16* z(int row, int j) const {
    return scratch.z + int64_t{row} * scratch.z_stride + shared.member->z_begin + j;
  }
  template <class Y>
  __device__ __forceinline__ Y* at(Mat<Y> y, int row, int col) const {
    return y.row(row) + shared.member->out_begin + begin + col;
  }
};

// Reads member `index` of the tile's group into shared.member and shared.ranks. All threads of the block call
// it together; it has barriers of its own, so that what the member before was used for is done.
__device__ __forceinline__ void ReadMember(ExpandShared& shared, int index) {
  __syncthreads();
  shared.member.Read(shared.tables.group->members + index);
  __syncthreads();
  if (threadIdx.x == 0) shared.ranks = shared.member->rank_begin[shared.member->experts];
  __syncthreads();
}

// Returns the columns [begin, end) of the member at hand. They are fast where eight columns of U and of y
// begin at 16 bytes.
template <class Y>
__device__ __forceinline__ Stretch StretchOf(const ExpandShared& shared, const LoraScratch& scratch, Mat<Y> y,
                                             int begin, int end) {
  const LoraMember& m = *shared.member;
  const bool fast = m.out % 8 == 0 && m.out_begin % 8 == 0 && begin % 8 == 0 && end % 8 == 0 &&
                    Aligned16(m.up) && RowsAligned16(y);
  return {shared, scratch, begin, end - begin, fast};
}

// Returns out_scale * (y + change) + weight * out_bias for column `col` of the stretch, where scale and bias
// are there (DoRA, biases of lora_B).
__device__ __forceinline__ float Changed(const Stretch& s, float y, float change, int col) {
  const LoraMember& m = *s.shared.member;
  y += change;
  if (m.out_scale != nullptr) y *= m.out_scale[s.begin + col];
  if (m.out_bias != nullptr) y = fmaf(s.shared.tables.run->weight, m.out_bias[s.begin + col], y);
  return y;
}

// Changes the kCount (4 or 8) columns of y at `at`, which are those of the stretch from `col` on; none beyond
// the stretch is touched.
template <int kCount, class Y>
__device__ __forceinline__ void UpdateRow(const Stretch& s, Y* at, const float (&change)[kCount], int col) {
  if (s.fast) {
    float v[kCount];
    if constexpr (kCount == 4) Load4(v, at);
    if constexpr (kCount == 8) Load8(v, at);
#pragma unroll
    for (int i = 0; i < kCount; ++i) v[i] = Changed(s, v[i], change[i], col + i);
    if constexpr (kCount == 4) Store4(at, v);
    if constexpr (kCount == 8) Store8(at, v);
    return;
  }
#pragma unroll
  for (int i = 0; i < kCount; ++i) {
    if (col + i < s.cols) Narrow(at[i], Changed(s, Widen(at[i]), change[i], col + i));
  }
}

// Returns whether the expand kernels can take what they are given; their launchers answer
// cudaErrorInvalidValue where not.
inline bool InRange(LoraSite site, const LoraScratch& scratch) {
  return site.kind >= 0 && site.kind < kLoraMaxKinds && scratch.z_stride % 8 == 0 && Aligned16(scratch.z);
}

}  // namespace hydrad::cuda

#endif  // HYDRAD_KERNELS_CUDA_LORA_STRETCH_CUH_
