// One block per row; where rows are aligned a thread takes as many elements at a time as make 16 bytes of the
// widest type, one otherwise: so every sector is asked for once.
#include "kernels/cuda/device.cuh"
#include "kernels/cuda/kernels.h"

namespace hydrad::cuda {
namespace {

constexpr int kThreads = 256;

// Calls some(i) for every kCount elements of the row, or one(i) for every element.
template <int kCount, class Some, class One>
__device__ __forceinline__ void ForRow(int cols, bool fast, const Some& some, const One& one) {
  if (fast) {
    for (int i = threadIdx.x * kCount; i < cols; i += kThreads * kCount) some(i);
  } else {
    for (int i = threadIdx.x; i < cols; i += kThreads) one(i);
  }
}

template <class To, class From>
__global__ void __launch_bounds__(kThreads)
    CopyRowsKernel(Mat<To> y, Mat<const From> x, const int32_t* rows, bool fast) {
  const From* from = x.row(rows != nullptr ? rows[blockIdx.x] : static_cast<int>(blockIdx.x));
  To* to = y.row(blockIdx.x);
  const auto four = [&](int i) {
    float v[4];
    Load4(v, from + i);
    Store4(to + i, v);
  };
  ForRow<4>(y.cols, fast, four, [&](int i) { Narrow(to[i], Widen(from[i])); });
}

__global__ void __launch_bounds__(kThreads) AddKernel(Mat<float> x, Mat<const bf16> delta, bool fast) {
  float* to = x.row(blockIdx.x);
  const bf16* from = delta.row(blockIdx.x);
  const auto four = [&](int i) {
    float v[4], d[4];
    Load4(v, to + i);
    Load4(d, from + i);
#pragma unroll
    for (int j = 0; j < 4; ++j) v[j] += d[j];
    Store4(to + i, v);
  };
  ForRow<4>(x.cols, fast, four, [&](int i) { to[i] += Widen(from[i]); });
}

__device__ __forceinline__ float Silu(float x) { return x / (1 + expf(-x)); }

__global__ void __launch_bounds__(kThreads) SiluMulKernel(Mat<bf16> y, Mat<const bf16> gate_up, bool fast) {
  const bf16* gate = gate_up.row(blockIdx.x);
  const bf16* up = gate + y.cols;
  bf16* to = y.row(blockIdx.x);
  const auto eight = [&](int i) {
    float g[8], u[8];
    Load8(g, gate + i);
    Load8(u, up + i);
#pragma unroll
    for (int j = 0; j < 8; ++j) g[j] = Silu(g[j]) * u[j];
    Store8(to + i, g);
  };
  ForRow<8>(y.cols, fast, eight, [&](int i) { Narrow(to[i], Silu(Widen(gate[i])) * Widen(up[i])); });
}

template <class To, class From>
cudaError_t CopyRowsOf(Mat<To> y, Mat<const From> x, const int32_t* rows, cudaStream_t stream) {
  if (y.rows == 0) return cudaSuccess;
  const bool fast = y.cols % 8 == 0 && RowsAligned16(y) && RowsAligned16(x);
  return Launch(CopyRowsKernel<To, From>, y.rows, kThreads, 0, stream, y, x, rows, fast);
}

}  // namespace

cudaError_t Embed(Mat<float> x, const bf16* table, const int32_t* tokens, cudaStream_t stream) {
  return CopyRowsOf<float, bf16>(x, {table, 0, x.cols, x.cols}, tokens, stream);
}
cudaError_t CopyRows(Mat<float> y, Mat<const float> x, const int32_t* rows, cudaStream_t stream) {
  return CopyRowsOf(y, x, rows, stream);
}
cudaError_t CopyRows(Mat<bf16> y, Mat<const float> x, const int32_t* rows, cudaStream_t stream) {
  return CopyRowsOf(y, x, rows, stream);
}
cudaError_t CopyRows(Mat<float> y, Mat<const bf16> x, const int32_t* rows, cudaStream_t stream) {
  return CopyRowsOf(y, x, rows, stream);
}

cudaError_t Add(Mat<float> x, Mat<const bf16> delta, cudaStream_t stream) {
  if (x.rows == 0) return cudaSuccess;
  const bool fast = x.cols % 8 == 0 && RowsAligned16(x) && RowsAligned16(delta);
  return Launch(AddKernel, x.rows, kThreads, 0, stream, x, delta, fast);
}

cudaError_t SiluMul(Mat<bf16> y, Mat<const bf16> gate_up, cudaStream_t stream) {
  if (y.rows == 0) return cudaSuccess;
  const bool fast = y.cols % 8 == 0 && RowsAligned16(y) && RowsAligned16(gate_up);
  return Launch(SiluMulKernel, y.rows, kThreads, 0, stream, y, gate_up, fast);
}

}  // namespace hydrad::cuda
