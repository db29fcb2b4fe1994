// The norms. Of the stream: one block per row, which reads the row once and keeps it in registers up to
// 32768 columns. Of heads: one warp per head.
#include "kernels/cuda/device.cuh"
#include "kernels/cuda/kernels.h"

namespace hydrad::cuda {
namespace {

constexpr int kVectors = 4;  // of eight elements, that a thread keeps

__device__ __forceinline__ float Squares(const float (&x)[8], float sum) {
#pragma unroll
  for (int j = 0; j < 8; ++j) sum = fmaf(x[j], x[j], sum);
  return sum;
}

// Rows of whole vectors, all aligned. kAdd: x += delta first.
template <bool kAdd>
__global__ void __launch_bounds__(1024) RmsNormRows(Mat<bf16> y, Mat<float> x, Mat<const bf16> delta,
                                                    const int32_t* rows, const float* weight, float eps) {
  __shared__ float parts[32];
  float* from = x.row(rows != nullptr ? rows[blockIdx.x] : static_cast<int>(blockIdx.x));
  bf16* to = y.row(blockIdx.x);
  const int step = blockDim.x * 8, begin = threadIdx.x * 8;
  const auto load = [&](float(&v)[8], int i, bool first) {
    Load8(v, from + i);
    if (!kAdd || !first) return;
    float d[8];
    Load8(d, delta.row(blockIdx.x) + i);
#pragma unroll
    for (int j = 0; j < 8; ++j) v[j] += d[j];
    Store8(from + i, v);
  };
  const auto scale = [&](const float(&v)[8], int i, float factor) {
    float w[8];
    Load8(w, weight + i);
#pragma unroll
    for (int j = 0; j < 8; ++j) w[j] *= v[j] * factor;
    Store8(to + i, w);
  };
  float kept[kVectors][8], sum = 0;
#pragma unroll
  for (int k = 0; k < kVectors; ++k) {
    if (begin + k * step >= x.cols) continue;
    load(kept[k], begin + k * step, true);
    sum = Squares(kept[k], sum);
  }
  for (int i = begin + kVectors * step; i < x.cols; i += step) {
    float v[8];
    load(v, i, true);
    sum = Squares(v, sum);
  }
  const float factor = 1 / sqrtf(BlockSum(sum, parts) / x.cols + eps);
#pragma unroll
  for (int k = 0; k < kVectors; ++k) {
    if (begin + k * step < x.cols) scale(kept[k], begin + k * step, factor);
  }
  for (int i = begin + kVectors * step; i < x.cols; i += step) {
    float v[8];
    load(v, i, false);
    scale(v, i, factor);
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
  return Launch(fast ? RmsNormRows<kAdd> : RmsNormRowsSlow<kAdd>, y.rows, threads, 0, stream, y, x, delta,
                rows, weight, eps);
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
