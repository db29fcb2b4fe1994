// The truth of kernels/gemm.h: the plainest loop, sums in double.
#include "kernels/gemm.h"

namespace hydrad::ref {
namespace {

template <class W>
float Rounded(float x);
template <>
float Rounded<bf16>(float x) {
  return ToFloat(ToBf16(x));
}
template <>
float Rounded<float>(float x) {
  return x;
}

template <class W>
void GemmOf(Mat<float> y, Mat<const float> x, Mat<const W> w, const float* bias) {
  for (int m = 0; m < x.rows; ++m) {
    for (int n = 0; n < w.rows; ++n) {
      double sum = 0;
      for (int k = 0; k < w.cols; ++k) sum += double{Rounded<W>(x.row(m)[k])} * ToFloat(w.row(n)[k]);
      y.row(m)[n] = static_cast<float>(bias ? sum + bias[n] : sum);
    }
  }
}

}  // namespace

void Gemm(Mat<float> y, Mat<const float> x, Mat<const bf16> w, const float* bias) { GemmOf(y, x, w, bias); }
void Gemm(Mat<float> y, Mat<const float> x, Mat<const float> w, const float* bias) { GemmOf(y, x, w, bias); }

}  // namespace hydrad::ref
