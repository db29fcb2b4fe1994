#include "kernels/elementwise.h"

#include "kernels/simd/pool.h"

namespace hydrad::simd {

void RmsNorm(Pool&, Mat<float> y, Mat<const float> x, const float* weight, int width, float eps) {
  ref::RmsNorm(y, x, weight, width, eps);
}
void Rope(Pool&, Mat<float> x, int heads, int head_dim, Mat<const float> cos_sin) {
  ref::Rope(x, heads, head_dim, cos_sin);
}
void SiluMul(Pool&, Mat<float> y, Mat<const float> gate_up) { ref::SiluMul(y, gate_up); }
void Add(Pool&, Mat<float> y, Mat<const float> x) { ref::Add(y, x); }

}  // namespace hydrad::simd
