#include "kernels/router.h"

#include "kernels/simd/pool.h"
#include "tests/kernels/cases.h"

namespace hydrad {
namespace {

struct Case {
  int rows, cols, experts;
};
const Case kCases[] = {{1, 1, 1},   {1, 576, 4},    {3, 7, 2},  {17, 33, 3},
                       {65, 64, 5}, {130, 100, 70}, {200, 9, 1}};

std::vector<const float*> RowsOf(const Matrix<float>& router) {
  std::vector<const float*> rows;
  for (int e = 0; e < router.view().rows; ++e) rows.push_back(router.view().row(e));
  return rows;
}

// Products of two floats are exact in double, so each of the rows * cols additions errs by half a unit of a
// sum no larger than the sum of all magnitudes.
TEST(RouterTest, MatchesReference) {
  simd::Pool pool(3);
  for (const Case& c : kCases) {
    const auto x = Matrix<float>::Random(c.rows, c.cols, 1, 1, 3);
    const auto router = Matrix<float>::Random(c.experts, c.cols, 2);
    std::vector<double> got(c.experts, 0.5), want(c.experts, 0.5);
    simd::AddRouterSums(pool, got, x.view(), RowsOf(router));
    ref::AddRouterSums(want, x.view(), RowsOf(router));
    for (int e = 0; e < c.experts; ++e) {
      double size = 0.5;
      for (int r = 0; r < c.rows; ++r) {
        for (int i = 0; i < c.cols; ++i) {
          size += std::fabs(double{router.view().row(e)[i]} * x.view().row(r)[i]);
        }
      }
      EXPECT_NEAR(got[e], want[e], 2.0 * c.rows * c.cols * 0x1p-53 * size) << c.rows << " x " << c.cols;
    }
  }
}

TEST(RouterTest, APromptInPiecesHasTheSameSums) {
  const auto x = Matrix<float>::Random(150, 37, 1);
  const auto router = Matrix<float>::Random(3, 37, 2);
  std::vector<double> whole(3);
  simd::Pool one(1), three(3);
  simd::AddRouterSums(one, whole, x.view(), RowsOf(router));
  for (const int piece : {1, 7, 64, 149}) {
    std::vector<double> sums(3);
    for (int begin = 0; begin < 150; begin += piece) {
      simd::AddRouterSums(three, sums, x.view().Rows(begin, std::min(piece, 150 - begin)), RowsOf(router));
    }
    EXPECT_EQ(sums, whole) << "pieces of " << piece;
  }
}

TEST(RouterTest, NothingToAdd) {
  simd::Pool pool(1);
  std::vector<double> sums = {1, 2};
  const auto router = Matrix<float>::Random(2, 5, 2);
  simd::AddRouterSums(pool, sums, Mat<const float>{nullptr, 0, 5, 5}, RowsOf(router));
  simd::AddRouterSums(pool, {}, Matrix<float>(3, 5).view(), {});
  EXPECT_EQ(sums, (std::vector<double>{1, 2}));
}

}  // namespace
}  // namespace hydrad
