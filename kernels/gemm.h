// The dense product y = x W^T + bias of one projection, for any number of rows.
//
// Promise (server/README.md): every element of y is summed in an order that depends on k alone, never on the
// number of rows, the row's place, or the number of threads. A row alone gives the same bits as in any batch.
#ifndef HYDRAD_KERNELS_GEMM_H_
#define HYDRAD_KERNELS_GEMM_H_

#include <cstddef>
#include <cstdint>
#include <span>

#include "kernels/types.h"

namespace hydrad {

namespace simd {
class Pool;
}

enum class WeightType : uint8_t { kBf16, kF32 };

// Weights W [n, k] repacked for the CPU kernels of this machine. A view: the caller owns `data` (64-byte
// aligned, PackedBytes long, written by PackRows) and keeps it alive.
struct PackedWeights {
  WeightType type;
  int n, k;
  std::byte* data;
};

namespace ref {
// The truth: plain row-major weights [n, k], sums in double. With bf16 weights x is first rounded to bf16,
// as every variant does. `bias` is [n] or null.
void Gemm(Mat<float> y, Mat<const float> x, Mat<const bf16> w, const float* bias);
void Gemm(Mat<float> y, Mat<const float> x, Mat<const float> w, const float* bias);
}  // namespace ref

namespace simd {

size_t PackedBytes(WeightType type, int n, int k);

// Writes the rows `w` (bf16 or f32; converted to the packed type) at rows [n_begin, n_begin + w.rows) of
// the packed matrix, so that q/k/v or gate/up stack into one. Rows never written must be zeroed by the
// caller.
void PackRows(const PackedWeights& packed, int n_begin, Mat<const bf16> w);
void PackRows(const PackedWeights& packed, int n_begin, Mat<const float> w);

// Row n of the packed matrix as k floats: the embedding lookup of a model with tied weights.
void UnpackRow(const PackedWeights& packed, int n, float* row);

// Bytes of scratch that Gemm needs for a batch of `rows`.
size_t GemmScratchBytes(WeightType type, int rows, int k);

// y [rows, n] = x [rows, k] W^T + bias ([n] or null). Accumulates in f32. The instruction set (AMX, AVX-512
// with or without bf16, AVX2, portable) is picked once per process, see ActiveIsa in simd/isa.h.
// REQUIRES: y and x do not overlap; scratch is 64-byte aligned and long enough.
void Gemm(Pool& pool, Mat<float> y, Mat<const float> x, const PackedWeights& w, const float* bias,
          std::span<std::byte> scratch);

}  // namespace simd
}  // namespace hydrad

#endif  // HYDRAD_KERNELS_GEMM_H_
