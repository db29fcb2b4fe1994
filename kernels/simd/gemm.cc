#include "kernels/gemm.h"

#include "kernels/simd/panels.h"
#include "kernels/simd/pool.h"

namespace hydrad::simd {

size_t GemmScratchBytes(WeightType, int rows, int k) {
  return size_t{4} * static_cast<size_t>(rows < 1 ? 1 : rows) *
         static_cast<size_t>(CeilDiv(k, kTileK) * kTileK);
}

void Gemm(Pool& pool, Mat<float> y, Mat<const float> x, const PackedWeights& w, const float* bias,
          std::span<std::byte>) {
  pool.Run(CeilDiv(w.n, kPanel), [&](int p) {
    const std::byte* panel = w.data + p * PanelBytes(w.type, w.k);
    for (int m = 0; m < x.rows; ++m) {
      float acc[kPanel] = {};
      for (int k = 0; k < w.k; ++k) {
        for (int i = 0; i < kPanel; ++i) {
          if (w.type == WeightType::kBf16) {
            const bf16 v = reinterpret_cast<const bf16*>(panel)[(k / 2 * kPanel + i) * 2 + k % 2];
            acc[i] += ToFloat(ToBf16(x.row(m)[k])) * ToFloat(v);
          } else {
            acc[i] += x.row(m)[k] * reinterpret_cast<const float*>(panel)[k * kPanel + i];
          }
        }
      }
      for (int i = 0; i < kPanel && p * kPanel + i < w.n; ++i) {
        y.row(m)[p * kPanel + i] = acc[i] + (bias ? bias[p * kPanel + i] : 0.f);
      }
    }
  });
}

}  // namespace hydrad::simd
