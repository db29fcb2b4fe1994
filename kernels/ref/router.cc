// The truth of kernels/router.h.
#include "kernels/router.h"

namespace hydrad::ref {

void AddRouterSums(std::span<double> sums, Mat<const float> x, std::span<const float* const> router) {
  for (int r = 0; r < x.rows; ++r) {
    for (size_t e = 0; e < router.size(); ++e) {
      double dot = 0;
      for (int i = 0; i < x.cols; ++i) dot += double{router[e][i]} * x.row(r)[i];
      sums[e] += dot;
    }
  }
}

}  // namespace hydrad::ref
