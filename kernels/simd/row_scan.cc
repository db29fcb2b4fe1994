#include "kernels/simd/row_scan.h"

#include "kernels/simd/kernel_table.h"

namespace hydrad::simd {

float MaxOrNan(std::span<const float> x) {
  return TableFor(ActiveIsa()).max_or_nan(x.data(), static_cast<int64_t>(x.size()));
}

double ExpSum(std::span<const float> x, float max, float temperature, std::span<float> weight) {
  return TableFor(ActiveIsa())
      .exp_sum(x.data(), max, temperature, weight.data(), static_cast<int64_t>(x.size()));
}

}  // namespace hydrad::simd
