// The norms. Of the stream: a block reads a row once and keeps it in registers up to 12288 columns, and keeps
// the weights for all of its rows. Of heads: one warp per head.
#include "kernels/cuda/device.cuh"
#include "kernels/cuda/kernels.h"

namespace hydrad::cuda {
namespace {

// Vectors of four columns that a thread keeps. Four and not eight, so that a warp's load of f32 is one
// stretch of 512 bytes: two loads of every other 16 bytes would ask for every sector twice.
constexpr int kVectors = 3;
// Blocks share out more rows than this: about two a multiprocessor. Fewer rows have a block each.
constexpr int kNormBlocks = 256;

__device__ __forceinline__ float Squares(const float (&x)[4], float sum) {
#pragma unroll
  for (int j = 0; j < 4; ++j) sum = fmaf(x[j], x[j], sum);
  return sum;
}

// Four columns of the stream; with `delta`, which joins them first and stays.
__device__ __forceinline__ void LoadJoined(float (&v)[4], float* x, const bf16* delta) {
  Load4(v, x);
  if (delta == nullptr) return;
  float d[4];
  Load4(d, delta);
#pragma unroll
  for (int j = 0; j < 4; ++j) v[j] += d[j];
  Store4(x, v);
}
__device__ __forceinline__ void StoreNormed(bf16* y, const float (&v)[4], const float (&weight)[4],
                                            float factor) {
  float normed[4];
#pragma unroll
  for (int j = 0; j < 4; ++j) normed[j] = weight[j] * (v[j] * factor);
  Store4(y, normed);
}

// y = norm(x) of one row; with kAdd, x += delta first. `kept_weight` are the weights of the thread's first
// kVectors.
template <bool kAdd>
__device__ __forceinline__ void NormRow(bf16* y, float* x, const bf16* delta, int cols, const float* weight,
                                        const float (&kept_weight)[kVectors][4], float eps, float* parts) {
  const int step = blockDim.x * 4, begin = threadIdx.x * 4;
  float kept[kVectors][4], sum = 0;
#pragma unroll
  for (int k = 0; k < kVectors; ++k) {
    const int i = begin + k * step;
    if (i >= cols) continue;
    LoadJoined(kept[k], x + i, kAdd ? delta + i : nullptr);
    sum = Squares(kept[k], sum);
  }
  for (int i = begin + kVectors * step; i < cols; i += step) {
    float v[4];
    LoadJoined(v, x + i, kAdd ? delta + i : nullptr);
    sum = Squares(v, sum);
  }
  const float factor = 1 / sqrtf(BlockSum(sum, parts) / cols + eps);
#pragma unroll
  for (int k = 0; k < kVectors; ++k) {
    const int i = begin + k * step;
    if (i < cols) StoreNormed(y + i, kept[k], kept_weight[k], factor);
  }
  for (int i = begin + kVectors * step; i < cols; i += step) {
    float v[4], w[4];
    Load4(v, x + i);
    Load4(w, weight + i);
    StoreNormed(y + i, v, w, factor);
  }
}

// Rows of whole vectors, all aligned: every gridDim.x-th of them.
template <bool kAdd>
__global__ void __launch_bounds__(1024) RmsNormRows(Mat<bf16> y, Mat<float> x, Mat<const bf16> delta,
                                                    const int32_t* rows, const float* weight, float eps) {
  __shared__ float parts[2][32];  // in turns: a row may begin while the one before is being read
  float kept_weight[kVectors][4];
#pragma unroll
  for (int k = 0; k < kVectors; ++k) {
    const int i = (threadIdx.x + k * blockDim.x) * 4;
    if (i < x.cols) Load4(kept_weight[k], weight + i);
  }
  int turn = 0;
  for (int r = blockIdx.x; r < y.rows; r += gridDim.x) {
    NormRow<kAdd>(y.row(r), x.row(rows != nullptr ? rows[r] : r), kAdd ? delta.row(r) : nullptr, x.cols,
                  weight, kept_weight, eps, parts[turn]);
    turn ^= 1;
  }
}

// Any width and alignment, element by element.
template <bool kAdd>
__global__ void __launch_bounds__(256) RmsNormRowsSlow(Mat<bf16> y, Mat<float> x, Mat<const bf16> delta,
                                                       const int32_t* rows, const float* weight, float eps) {
  __shared__ float parts[32];
  float* from = x.row(rows != nullptr ? rows[blockIdx.x] : static_cast<int>(blockIdx.x));
  float sum = 0;
  for (int i = threadIdx.x; i < x.cols; i += blockDim.x) {
    if (kAdd) from[i] += Widen(delta.row(blockIdx.x)[i]);
    sum = fmaf(from[i], from[i], sum);
  }
  const float factor = 1 / sqrtf(BlockSum(sum, parts) / x.cols + eps);
  for (int i = threadIdx.x; i < x.cols; i += blockDim.x) {
    Narrow(y.row(blockIdx.x)[i], from[i] * factor * weight[i]);
  }
}

// A warp per `width` columns of a row.
__global__ void __launch_bounds__(128)
    RmsNormParts(Mat<bf16> y, Mat<const bf16> x, const float* weight, int width, int parts, float eps) {
  const int index = blockIdx.x * 4 + threadIdx.x / 32, lane = threadIdx.x % 32;
  if (index >= x.rows * parts) return;
  const bf16* from = x.row(index / parts) + index % parts * width;
  bf16* to = y.row(index / parts) + index % parts * width;
  float sum = 0;
  for (int i = lane; i < width; i += 32) sum = fmaf(Widen(from[i]), Widen(from[i]), sum);
  const float factor = 1 / sqrtf(WarpSum(sum) / width + eps);
  for (int i = lane; i < width; i += 32) Narrow(to[i], Widen(from[i]) * factor * weight[i]);
}

template <bool kAdd>
cudaError_t RmsNormOf(Mat<bf16> y, Mat<float> x, Mat<const bf16> delta, const int32_t* rows,
                      const float* weight, float eps, cudaStream_t stream) {
  if (y.rows == 0) return cudaSuccess;
  const bool fast = x.cols % 8 == 0 && RowsAligned16(y) && RowsAligned16(x) && Aligned16(weight) &&
                    (!kAdd || RowsAligned16(delta));
  const int threads = fast ? min(1024, RoundUp(x.cols / 8, 32)) : 256;
  return Launch(fast ? RmsNormRows<kAdd> : RmsNormRowsSlow<kAdd>, fast ? min(y.rows, kNormBlocks) : y.rows,
                threads, 0, stream, y, x, delta, rows, weight, eps);
}

}  // namespace

cudaError_t RmsNorm(Mat<bf16> y, Mat<const float> x, const int32_t* rows, const float* weight, float eps,
                    cudaStream_t stream) {
  const Mat<float> unchanged{const_cast<float*>(x.data), x.rows, x.cols, x.stride};
  return RmsNormOf<false>(y, unchanged, {}, rows, weight, eps, stream);
}

cudaError_t AddRmsNorm(Mat<bf16> y, Mat<float> x, Mat<const bf16> delta, const float* weight, float eps,
                       cudaStream_t stream) {
  return RmsNormOf<true>(y, x, delta, nullptr, weight, eps, stream);
}

cudaError_t RmsNorm(Mat<bf16> y, Mat<const bf16> x, const float* weight, int width, float eps,
                    cudaStream_t stream) {
  if (width < 1 || x.cols % width != 0) return cudaErrorInvalidValue;
  const int parts = x.cols / width;
  if (x.rows == 0 || parts == 0) return cudaSuccess;
  return Launch(RmsNormParts, CeilDiv(x.rows * parts, 4), 128, 0, stream, y, x, weight, width, parts, eps);
}

}  // namespace hydrad::cuda
