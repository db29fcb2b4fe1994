#include "kernels/router.h"

#include <algorithm>
#include <array>

#include "kernels/simd/pool.h"

namespace hydrad::simd {
namespace {

// Rows that are multiplied before their dots are added up: bounds the dots kept, on the stack.
constexpr int kBlock = 64;
constexpr int kMostDots = 4096;

// Eight chains side by side, for the compiler to turn into vectors; the same order on every machine.
double Dot(const float* a, const float* b, int n) {
  constexpr int kChains = 8;
  std::array<double, kChains> sums{};
  int i = 0;
  for (; i + kChains <= n; i += kChains) {
    for (int c = 0; c < kChains; ++c) sums[c] += double{a[i + c]} * b[i + c];
  }
  for (int c = 0; i + c < n; ++c) sums[c] += double{a[i + c]} * b[i + c];
  for (int width = kChains / 2; width > 0; width /= 2) {
    for (int c = 0; c < width; ++c) sums[c] += sums[c + width];
  }
  return sums[0];
}

}  // namespace

void AddRouterSums(Pool& pool, std::span<double> sums, Mat<const float> x,
                   std::span<const float* const> router) {
  const int experts = static_cast<int>(router.size());
  std::array<double, kMostDots> dots;
  for (int first = 0; first < experts; first += kBlock) {
    const int count = std::min(kBlock, experts - first);
    for (int begin = 0; begin < x.rows; begin += kBlock) {
      const int rows = std::min(kBlock, x.rows - begin);
      const auto row = [&](int r) {
        for (int e = 0; e < count; ++e) {
          dots[r * count + e] = Dot(router[first + e], x.row(begin + r), x.cols);
        }
      };
      if (rows == 1) {
        row(0);  // the last token of a prompt: not worth waking anybody
      } else {
        pool.Run(rows, row);
      }
      for (int r = 0; r < rows; ++r) {
        for (int e = 0; e < count; ++e) sums[first + e] += dots[r * count + e];
      }
    }
  }
}

}  // namespace hydrad::simd
