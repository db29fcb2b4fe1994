// One block per row; a thread takes eight elements at a time where rows are aligned, one otherwise.
#include "kernels/cuda/device.cuh"
#include "kernels/cuda/kernels.h"

namespace hydrad::cuda {
namespace {

constexpr int kThreads = 256;

// Calls eight(i) for whole vectors of the row, or one(i) for every element.
template <class Eight, class One>
__device__ __forceinline__ void ForRow(int cols, bool fast, const Eight& eight, const One& one) {
  if (fast) {
    for (int i = threadIdx.x * 8; i < cols; i += kThreads * 8) eight(i);
  } else {
    for (int i = threadIdx.x; i < cols; i += kThreads) one(i);
  }
}

template <class To, class From>
__global__ void __launch_bounds__(kThreads)
    CopyRowsKernel(Mat<To> y, Mat<const From> x, const int32_t* rows, bool fast) {
  const From* from = x.row(rows != nullptr ? rows[blockIdx.x] : static_cast<int>(blockIdx.x));
  To* to = y.row(blockIdx.x);
  const auto eight = [&](int i) {
    float v[8];
    Load8(v, from + i);
    Store8(to + i, v);
  };
  ForRow(y.cols, fast, eight, [&](int i) { Narrow(to[i], Widen(from[i])); });
}

__global__ void __launch_bounds__(kThreads) AddKernel(Mat<float> x, Mat<const bf16> delta, bool fast) {
  float* to = x.row(blockIdx.x);
  const bf16* from = delta.row(blockIdx.x);
  const auto eight = [&](int i) {
    float v[8], d[8];
    Load8(v, to + i);
    Load8(d, from + i);
#pragma unroll
    for (int j = 0; j < 8; ++j) v[j] += d[j];
    Store8(to + i, v);
  };
  ForRow(x.cols, fast, eight, [&](int i) { to[i] += Widen(from[i]); });
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
  ForRow(y.cols, fast, eight, [&](int i) { Narrow(to[i], Silu(Widen(gate[i])) * Widen(up[i])); });
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
