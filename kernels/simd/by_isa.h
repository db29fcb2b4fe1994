// The doors of kernels/*.h with the instruction set given by the caller: for tests, which run every one that
// the machine has, and for the benchmark. The doors themselves call these with ActiveIsa().
//
// REQUIRES: Supported(isa). Scratch as for the door.
#ifndef HYDRAD_KERNELS_SIMD_BY_ISA_H_
#define HYDRAD_KERNELS_SIMD_BY_ISA_H_

#include <cstddef>
#include <span>

#include "kernels/attention.h"
#include "kernels/elementwise.h"
#include "kernels/gemm.h"
#include "kernels/lora.h"
#include "kernels/simd/isa.h"
#include "kernels/simd/kernel_table.h"

namespace hydrad::simd {

// With a table instead, so that the AMX kernel can be run over emulated tiles.
void Gemm(const Table& table, Pool& pool, Mat<float> y, Mat<const float> x, const PackedWeights& w,
          const float* bias, std::span<std::byte> scratch);

template <class T>
void AddLora(Isa isa, Pool& pool, Mat<float> y, Mat<const float> x, std::span<const LoraRun<T>> runs,
             std::span<std::byte> scratch);

template <class T>
void Attend(Isa isa, Pool& pool, Mat<float> out, Mat<const float> q, KvLayer<T> kv,
            std::span<const AttentionSegment> segments, float scale);

void RmsNorm(Isa isa, Pool& pool, Mat<float> y, Mat<const float> x, const float* weight, int width,
             float eps);
void Rope(Isa isa, Pool& pool, Mat<float> x, int heads, int head_dim, Mat<const float> cos_sin);
void SiluMul(Isa isa, Pool& pool, Mat<float> y, Mat<const float> gate_up);
void Add(Isa isa, Pool& pool, Mat<float> y, Mat<const float> x);

}  // namespace hydrad::simd

#endif  // HYDRAD_KERNELS_SIMD_BY_ISA_H_
