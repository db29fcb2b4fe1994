#include "kernels/simd/row_scan.h"

#include <cmath>
#include <limits>

namespace hydrad::simd {

float MaxOrNan(std::span<const float> x) {
  float max = -std::numeric_limits<float>::infinity();
  for (float v : x) {
    if (std::isnan(v)) return v;
    max = v > max ? v : max;
  }
  return max;
}

double ExpSum(std::span<const float> x, float max, float temperature, std::span<float> weight) {
  double sum = 0;
  for (size_t i = 0; i < x.size(); ++i) sum += weight[i] = std::exp((x[i] - max) / temperature);
  return sum;
}

}  // namespace hydrad::simd
