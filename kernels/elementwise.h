// The small per-row operations of the network. Every one works on each row alone, in an order of sums that
// depends on the width alone: a row has the same bits in any batch. `ref` sums in double and is the
// definition; `simd` computes in f32 on the pool's threads, and returns when all rows are done. Nothing has
// errors: a NaN or an infinity in a row stays in that row.
#ifndef HYDRAD_KERNELS_ELEMENTWISE_H_
#define HYDRAD_KERNELS_ELEMENTWISE_H_

#include <cstdint>
#include <span>

#include "kernels/types.h"

namespace hydrad {

namespace simd {
class Pool;
}

// Root-mean-square norm (arXiv 1910.07467): y = x / sqrt(mean(x^2) + eps) * weight, over `width` consecutive
// columns at a time (width = cols for a block's norm, head_dim for qk-norm; weight is [width]). y may be x.
namespace ref {
void RmsNorm(Mat<float> y, Mat<const float> x, const float* weight, int width, float eps);
// Rotary embedding, rotate-half layout (arXiv 2104.09864, as Hugging Face stores it), in place over `heads`
// consecutive heads: the pair (x[i], x[i + head_dim/2]) turns by position * inv_freq[i].
// cos_sin [rows, head_dim]: the cosines of the row's position, then the sines (see RopeTable).
void Rope(Mat<float> x, int heads, int head_dim, Mat<const float> cos_sin);
// y[:, i] = silu(gate_up[:, i]) * gate_up[:, width + i], width = y.cols.
void SiluMul(Mat<float> y, Mat<const float> gate_up);
// y += x.
void Add(Mat<float> y, Mat<const float> x);
}  // namespace ref

namespace simd {
void RmsNorm(Pool& pool, Mat<float> y, Mat<const float> x, const float* weight, int width, float eps);
void Rope(Pool& pool, Mat<float> x, int heads, int head_dim, Mat<const float> cos_sin);
void SiluMul(Pool& pool, Mat<float> y, Mat<const float> gate_up);
void Add(Pool& pool, Mat<float> y, Mat<const float> x);
}  // namespace simd

// Fills cos_sin [positions.size(), 2 * inv_freq.size()] for Rope; angles are computed in double.
void RopeTable(Mat<float> cos_sin, std::span<const int32_t> positions, std::span<const double> inv_freq);

}  // namespace hydrad

#endif  // HYDRAD_KERNELS_ELEMENTWISE_H_
