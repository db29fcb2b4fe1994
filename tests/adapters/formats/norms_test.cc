#include "server/adapters/formats/norms.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "server/base/status.h"

namespace hydrad {
namespace {

// A float matrix and a view of it.
struct Numbers {
  Numbers(int rows, int cols, uint32_t seed)
      : rows(rows), cols(cols), values(static_cast<size_t>(rows) * cols) {
    std::mt19937 random(seed);
    std::normal_distribution<float> number;
    for (float& value : values) value = number(random);
  }
  HostMatrix view() const { return {values.data(), DType::kF32, rows, cols}; }
  // Two rows at a time.
  absl::Status operator()(absl::FunctionRef<void(int, const HostMatrix&)> visit) const {
    for (int first = 0; first < rows; first += 2) {
      visit(first, {values.data() + static_cast<size_t>(first) * cols, DType::kF32, std::min(2, rows - first),
                    cols});
    }
    return absl::OkStatus();
  }
  double at(int r, int c) const { return values[static_cast<size_t>(r) * cols + c]; }

  int rows, cols;
  std::vector<float> values;
};

// Element [n, k] of W + scale * B A.
double Changed(const Numbers& w, const Numbers& a, const Numbers& b, double scale, int n, int k) {
  double sum = 0;
  for (int j = 0; j < a.rows; ++j) sum += b.at(n, j) * a.at(j, k);
  return w.at(n, k) + scale * sum;
}

// The change is summed in f32: rank + 2 roundings of each element, relative to the sum of its terms' sizes.
// With normal numbers and ranks to 64 those are some tens of times the norm's own scale at most.
constexpr double kRelative = 64 * 0x1p-24 * 8;

struct Shape {
  int rows, cols, rank;
};
class Norms : public ::testing::TestWithParam<Shape> {};

TEST_P(Norms, OfRowsAgreeWithTheDefinition) {
  const auto [rows, cols, rank] = GetParam();
  const Numbers w(rows, cols, 1), a(rank, cols, 2), b(rows, rank, 3);
  const std::vector<double> norms = *RowNorms(w, a.view(), b.view(), 0.75f);
  ASSERT_EQ(norms.size(), static_cast<size_t>(rows));
  for (int n = 0; n < rows; ++n) {
    double sum = 0;
    for (int k = 0; k < cols; ++k) sum += std::pow(Changed(w, a, b, 0.75, n, k), 2);
    EXPECT_NEAR(norms[n], std::sqrt(sum), kRelative * std::sqrt(sum)) << n;
  }
}

TEST_P(Norms, OfColumnsAgreeWithTheDefinition) {
  const auto [vocab, hidden, rank] = GetParam();
  const Numbers e(vocab, hidden, 1), a(rank, vocab, 2), b(hidden, rank, 3);
  const std::vector<double> norms = *ColumnNorms(e, a.view(), b.view(), -1.5f);
  ASSERT_EQ(norms.size(), static_cast<size_t>(hidden));
  for (int k = 0; k < hidden; ++k) {
    double sum = 0;
    for (int t = 0; t < vocab; ++t) {
      double change = 0;
      for (int j = 0; j < rank; ++j) change += a.at(j, t) * b.at(k, j);
      sum += std::pow(e.at(t, k) - 1.5 * change, 2);
    }
    EXPECT_NEAR(norms[k], std::sqrt(sum), kRelative * std::sqrt(sum)) << k;
  }
}

TEST(NormsOf, RowsThatCannotBeReadAreAnError) {
  const Numbers a(1, 2, 1), b(2, 1, 2);
  const auto lost = [](auto) { return Internal("lost"); };
  EXPECT_EQ(RowNorms(lost, a.view(), b.view(), 1).status(), Internal("lost"));
  EXPECT_EQ(ColumnNorms(lost, a.view(), b.view(), 1).status(), Internal("lost"));
}

INSTANTIATE_TEST_SUITE_P(Shapes, Norms,
                         ::testing::Values(Shape{1, 1, 1}, Shape{3, 7, 2}, Shape{5, 8, 1}, Shape{17, 41, 8},
                                           Shape{64, 130, 64}));

}  // namespace
}  // namespace hydrad
