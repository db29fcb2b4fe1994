// The table of one vector type: everything but the products.
#ifndef HYDRAD_KERNELS_SIMD_MAKE_TABLE_H_
#define HYDRAD_KERNELS_SIMD_MAKE_TABLE_H_

#include "kernels/simd/attend_kernel.h"
#include "kernels/simd/elementwise_kernel.h"
#include "kernels/simd/gemm_kernel.h"
#include "kernels/simd/kernel_table.h"
#include "kernels/simd/lora_kernel.h"

namespace hydrad::simd {

// kRows x kDots and kRows x kWide: register blocks of the low-rank loops.
template <class V, int kRows, int kDots, int kWide>
constexpr Table MakeTable(GemmKernels bf16_gemm, GemmKernels f32_gemm) {
  return {
      .gemm = {bf16_gemm, f32_gemm},
      .dots_bf16 = &DotsKernel<V, bf16, kRows, kDots>::Run,
      .dots_f32 = &DotsKernel<V, float, kRows, kDots>::Run,
      .expand_bf16 = &ExpandKernel<V, bf16, kRows, kWide>::Run,
      .expand_f32 = &ExpandKernel<V, float, kRows, kWide>::Run,
      .softmax = &Softmax<V>,
      .attend_bf16 = &AttendKernel<V, bf16>::Run,
      .attend_f32 = &AttendKernel<V, float>::Run,
      .rms_norm = &RmsNormRow<V>,
      .rope = &RopeHead<V>,
      .silu_mul = &SiluMulRow<V>,
      .add = &AddRow<V>,
      .max_or_nan = &MaxOrNanRow<V>,
      .exp_sum = &ExpSumRow<V>,
  };
}

}  // namespace hydrad::simd

#endif  // HYDRAD_KERNELS_SIMD_MAKE_TABLE_H_
