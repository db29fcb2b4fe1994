// The truth of kernels/elementwise.h, in double.
#include "kernels/elementwise.h"

#include <cmath>

namespace hydrad::ref {

void RmsNorm(Mat<float> y, Mat<const float> x, const float* weight, int width, float eps) {
  for (int r = 0; r < x.rows; ++r) {
    for (int begin = 0; begin + width <= x.cols; begin += width) {
      const float* from = x.row(r) + begin;
      double sum = 0;
      for (int i = 0; i < width; ++i) sum += double{from[i]} * from[i];
      const double factor = 1 / std::sqrt(sum / width + eps);
      for (int i = 0; i < width; ++i) y.row(r)[begin + i] = static_cast<float>(from[i] * factor * weight[i]);
    }
  }
}

void Rope(Mat<float> x, int heads, int head_dim, Mat<const float> cos_sin) {
  const int half = head_dim / 2;
  for (int r = 0; r < x.rows; ++r) {
    const float* turn = cos_sin.row(r);
    for (int h = 0; h < heads; ++h) {
      float* a = x.row(r) + h * head_dim;
      for (int i = 0; i < half; ++i) {
        const double c = turn[i], s = turn[half + i], lo = a[i], hi = a[half + i];
        a[i] = static_cast<float>(lo * c - hi * s);
        a[half + i] = static_cast<float>(hi * c + lo * s);
      }
    }
  }
}

void SiluMul(Mat<float> y, Mat<const float> gate_up) {
  for (int r = 0; r < y.rows; ++r) {
    const float* gate = gate_up.row(r);
    const float* up = gate + y.cols;
    for (int i = 0; i < y.cols; ++i) {
      y.row(r)[i] = static_cast<float>(gate[i] / (1 + std::exp(-double{gate[i]})) * up[i]);
    }
  }
}

void Add(Mat<float> y, Mat<const float> x) {
  for (int r = 0; r < y.rows; ++r) {
    for (int i = 0; i < y.cols; ++i) y.row(r)[i] += x.row(r)[i];
  }
}

}  // namespace hydrad::ref
