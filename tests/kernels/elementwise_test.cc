#include "kernels/elementwise.h"

#include "kernels/simd/by_isa.h"
#include "kernels/simd/pool.h"
#include "tests/kernels/cases.h"

namespace hydrad {
namespace {

using simd::Isa;
using simd::Pool;

class ElementwiseTest : public testing::TestWithParam<Isa> {
 protected:
  const Isa isa_ = GetParam();
  Pool pool_{3};
};

const int kWidths[] = {1, 7, 16, 17, 64, 65, 130, 576};

// The sum of squares: width / 64 FMAs a lane, joins and a tree; then a root, a quotient and two products.
TEST_P(ElementwiseTest, RmsNormMatchesReference) {
  for (int width : kWidths) {
    for (int parts : {1, 3}) {
      const auto x = Matrix<float>::Random(5, width * parts, width, 2, 3);
      const auto weight = Matrix<float>::Random(1, width, 1);
      Matrix<float> got(5, width * parts, 1), want(5, width * parts);
      simd::RmsNorm(isa_, pool_, got.view(), x.view(), weight.view().data, width, 1e-5f);
      ref::RmsNorm(want.view(), x.view(), weight.view().data, width, 1e-5f);
      const double terms = width / 64 + 1 + 2 + 4 + 8;
      ExpectWithin(
          got.view(), want.view(),
          [&](int r, int c) { return terms * kUnit * std::fabs(want.view().row(r)[c]); },
          "width " + std::to_string(width));
    }
  }
}

TEST_P(ElementwiseTest, RmsNormInPlaceIsTheSame) {
  auto x = Matrix<float>::Random(4, 100, 1);
  const auto weight = Matrix<float>::Random(1, 100, 2);
  Matrix<float> y(4, 100);
  simd::RmsNorm(isa_, pool_, y.view(), x.view(), weight.view().data, 100, 1e-6f);
  simd::RmsNorm(isa_, pool_, x.view(), x.view(), weight.view().data, 100, 1e-6f);
  ExpectSame(x.view(), y.view(), "in place");
}

TEST_P(ElementwiseTest, RopeMatchesReference) {
  for (int head_dim : {2, 16, 24, 34, 64, 128}) {
    const std::vector<int32_t> positions{0, 1, 77, 131071};
    std::vector<double> inv_freq;
    for (int i = 0; i < head_dim / 2; ++i) inv_freq.push_back(std::pow(1e4, -2.0 * i / head_dim));
    Matrix<float> table(4, head_dim, 2);
    RopeTable(table.view(), positions, inv_freq);
    auto got = Matrix<float>::Random(4, 3 * head_dim + 5, 8), want = got;
    const auto before = got;
    simd::Rope(isa_, pool_, got.view(), 3, head_dim, table.view());
    ref::Rope(want.view(), 3, head_dim, table.view());
    // Two products and a sum, each rounded, of two numbers no larger than the pair's.
    const auto bound = [&](int r, int c) {
      const int pair = c % head_dim < head_dim / 2 ? c + head_dim / 2 : c - head_dim / 2;
      const double other = c < 3 * head_dim ? before.view().row(r)[pair] : 0;
      return 3 * kUnit * (std::fabs(before.view().row(r)[c]) + std::fabs(other));
    };
    ExpectWithin(got.view(), want.view(), bound, "head_dim " + std::to_string(head_dim));
  }
}

TEST_P(ElementwiseTest, SiluMulMatchesReference) {
  for (int width : kWidths) {
    auto x = Matrix<float>::Random(6, 2 * width, width, 8, 1);
    x.view().row(1)[0] = -200;
    x.view().row(2)[0] = 200;
    x.view().row(3)[0] = 0;
    Matrix<float> got(6, width, 3), want(6, width);
    simd::SiluMul(isa_, pool_, got.view(), x.view());
    ref::SiluMul(want.view(), x.view());
    // exp to 3 units (vec.h), a sum, a quotient, a product. Beyond -88 the exponential is held at e^88.3.
    const auto bound = [&](int r, int c) {
      return 8 * kUnit * std::fabs(want.view().row(r)[c]) + 1e-34 * std::fabs(x.view().row(r)[width + c]);
    };
    ExpectWithin(got.view(), want.view(), bound, "width " + std::to_string(width));
  }
}

TEST_P(ElementwiseTest, AddIsExact) {
  for (int width : kWidths) {
    auto got = Matrix<float>::Random(3, width, 1, 1, 2), want = got;
    const auto x = Matrix<float>::Random(3, width, 2, 1, 1);
    simd::Add(isa_, pool_, got.view(), x.view());
    ref::Add(want.view(), x.view());
    ExpectSame(got.view(), want.view(), "width " + std::to_string(width));
  }
}

// exp over its whole range: 3 units in the middle, 0 below, held above, NaN kept.
TEST_P(ElementwiseTest, ExpHoldsItsBound) {
  const auto& table = simd::TableFor(isa_);
  std::vector<float> x, e;
  for (float v = -87.3f; v <= 0; v += 1.37e-4f) x.push_back(v);
  e.resize(x.size());
  table.exp_sum(x.data(), 0, 1, e.data(), static_cast<int64_t>(x.size()));
  double worst = 0;
  for (size_t i = 0; i < x.size(); ++i) worst = std::max(worst, std::fabs(e[i] / std::exp(double{x[i]}) - 1));
  EXPECT_LE(worst, 3 * kUnit);
  const float edge[] = {0, -0.f, -88, -1000, -INFINITY, NAN};
  float out[6];
  table.exp_sum(edge, 0, 1, out, 6);
  EXPECT_EQ(out[0], 1);
  EXPECT_EQ(out[1], 1);
  for (int i : {2, 3, 4}) EXPECT_EQ(out[i], 0);
  EXPECT_TRUE(std::isnan(out[5]));
}

// An element has the same bits wherever it stands in a row and however long the row is.
TEST_P(ElementwiseTest, ExpAndSiluDoNotDependOnThePlace) {
  const auto& table = simd::TableFor(isa_);
  const auto gate = Matrix<float>::Random(1, 67, 1, 5), up = Matrix<float>::Random(1, 67, 2);
  Matrix<float> whole(1, 67);
  table.silu_mul(whole.view().data, gate.view().data, up.view().data, 67);
  for (int begin : {0, 1, 5, 16, 50}) {
    for (int n : {1, 2, 15, 16, 17}) {
      Matrix<float> part(1, n);
      table.silu_mul(part.view().data, gate.view().data + begin, up.view().data + begin, n);
      ExpectSame(part.view(), whole.view().Cols(begin, n), "silu at " + std::to_string(begin));
    }
  }
}

// Batches large enough to be shared out, against rows alone.
TEST_P(ElementwiseTest, RowAloneIsRowInBatch) {
  constexpr int kRows = 61, kCols = 640;
  Pool one(1);
  const auto x = Matrix<float>::Random(kRows, kCols, 1);
  const auto weight = Matrix<float>::Random(1, 64, 2), turn = Matrix<float>::Random(kRows, 64, 3);
  const auto all = [&](Pool& pool, int begin, int n, Mat<float> norm, Mat<float> rope, Mat<float> silu) {
    const auto rows = x.view().Rows(begin, n);
    simd::RmsNorm(isa_, pool, norm, rows, weight.view().data, 64, 1e-5f);
    for (int r = 0; r < n; ++r) std::copy_n(rows.row(r), kCols, rope.row(r));
    simd::Rope(isa_, pool, rope, 10, 64, turn.view().Rows(begin, n));
    simd::SiluMul(isa_, pool, silu, rows);
    simd::Add(isa_, pool, rope, norm);
  };
  Matrix<float> norm(kRows, kCols), rope(kRows, kCols), silu(kRows, kCols / 2);
  all(pool_, 0, kRows, norm.view(), rope.view(), silu.view());
  for (int r = 0; r < kRows; ++r) {
    Matrix<float> n(1, kCols), p(1, kCols), s(1, kCols / 2);
    all(one, r, 1, n.view(), p.view(), s.view());
    ExpectSame(n.view(), norm.view().Rows(r, 1), "norm");
    ExpectSame(p.view(), rope.view().Rows(r, 1), "rope and add");
    ExpectSame(s.view(), silu.view().Rows(r, 1), "silu");
  }
}

INSTANTIATE_TEST_SUITE_P(All, ElementwiseTest, testing::ValuesIn(Isas()), IsaName);

TEST(RopeTableTest, HoldsCosinesThenSinesOfExactAngles) {
  const std::vector<int32_t> positions{0, 131071};
  const std::vector<double> inv_freq{1, 0.25};
  Matrix<float> table(2, 4);
  RopeTable(table.view(), positions, inv_freq);
  EXPECT_EQ(table.view().row(0)[0], 1);
  EXPECT_EQ(table.view().row(0)[2], 0);
  EXPECT_EQ(table.view().row(1)[1], static_cast<float>(std::cos(131071 * 0.25)));
  EXPECT_EQ(table.view().row(1)[2], static_cast<float>(std::sin(131071.0)));
}

}  // namespace
}  // namespace hydrad
