#include <cmath>

#include "kernels/elementwise.h"

namespace hydrad {

void RopeTable(Mat<float> cos_sin, std::span<const int32_t> positions, std::span<const double> inv_freq) {
  const size_t half = inv_freq.size();
  for (size_t r = 0; r < positions.size(); ++r) {
    for (size_t i = 0; i < half; ++i) {
      const double angle = positions[r] * inv_freq[i];
      cos_sin.row(r)[i] = static_cast<float>(std::cos(angle));
      cos_sin.row(r)[half + i] = static_cast<float>(std::sin(angle));
    }
  }
}

}  // namespace hydrad
