// The router of a mixture that picks one expert per sequence (MoA, arXiv 2403.03432): the dot products of
// rows of the residual stream with one row per expert, summed over the rows of a prompt.
#ifndef HYDRAD_KERNELS_ROUTER_H_
#define HYDRAD_KERNELS_ROUTER_H_

#include <span>

#include "kernels/types.h"

namespace hydrad {

namespace simd {
class Pool;
}

// sums[e] += router[e] . x[r], r = 0, 1, ... one after the other, for every e; router[e] is [x.cols]. So a
// prompt that comes in several pieces has the same sums, bit for bit, as in one.
namespace ref {
void AddRouterSums(std::span<double> sums, Mat<const float> x, std::span<const float* const> router);
}
// In double too, in an order of its own within each dot product.
namespace simd {
void AddRouterSums(Pool& pool, std::span<double> sums, Mat<const float> x,
                   std::span<const float* const> router);
}

}  // namespace hydrad

#endif  // HYDRAD_KERNELS_ROUTER_H_
