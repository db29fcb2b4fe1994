// The two scans of a row of logits that sampling needs.
#ifndef HYDRAD_KERNELS_SIMD_ROW_SCAN_H_
#define HYDRAD_KERNELS_SIMD_ROW_SCAN_H_

#include <span>

namespace hydrad::simd {

// The largest value, NaN if any value is NaN, -inf for an empty row.
float MaxOrNan(std::span<const float> x);

// weight[i] = exp((x[i] - max) / temperature) in f32; returns their sum. `weight` is as long as x and may be
// x. REQUIRES: temperature > 0, x[i] <= max, max finite. The sum's order depends on the length alone.
double ExpSum(std::span<const float> x, float max, float temperature, std::span<float> weight);

}  // namespace hydrad::simd

#endif  // HYDRAD_KERNELS_SIMD_ROW_SCAN_H_
