#include "kernels/gemm.h"

#include "kernels/simd/amx_kernel.h"
#include "kernels/simd/by_isa.h"
#include "kernels/simd/panels.h"
#include "kernels/simd/pool.h"
#include "kernels/simd/vec_portable.h"
#include "tests/kernels/cases.h"

namespace hydrad {
namespace {

using simd::Isa;
using simd::Pool;
using simd::Table;

// Weights in panels, in memory of their own.
template <class W>
struct Packed {
  Packed(Mat<const W> w, WeightType type) : scratch(simd::PackedBytes(type, w.rows, w.cols)) {
    view = {type, w.rows, w.cols, scratch.span().data()};
    simd::PackRows(view, 0, w);
  }
  Scratch scratch;
  PackedWeights view;
};

// The AVX-free table with the AMX kernel over emulated tiles in it.
const Table& EmulatedAmx() {
  static const Table table = [] {
    Table t = simd::PortableTable();
    t.gemm[0] = simd::MakeAmxKernels<simd::VecPortable, simd::EmulatedTiles>();
    return t;
  }();
  return table;
}

struct Variant {
  std::string name;
  const Table* table;
};
std::vector<Variant> Variants() {
  std::vector<Variant> all{{"amx_emulated", &EmulatedAmx()}};
  for (Isa isa : Isas()) all.push_back({simd::Name(isa), &simd::TableFor(isa)});
  return all;
}

Matrix<float> Product(const Table& table, Pool& pool, Mat<const float> x, const PackedWeights& w,
                      const float* bias) {
  Matrix<float> y(x.rows, w.n, 3);
  Scratch scratch(simd::GemmScratchBytes(w.type, x.rows, w.k));
  simd::Gemm(table, pool, y.view(), x, w, bias, scratch.span());
  return y;
}

// A chain of k products and sums in f32, the bias, and TDPBF16PS's second chain: |error| <= (k + 2) u sum |x
// w| + u |y|, with x as rounded to the weights' type and, for denormals counted as zero, k times the smallest
// normal number.
template <class W>
auto Bound(Mat<const float> x, Mat<const W> w, const float* bias) {
  return [=](int r, int c) {
    double sum = bias ? std::fabs(bias[c]) : 0;
    for (int k = 0; k < x.cols; ++k)
      sum += std::fabs(double{x.row(r)[k]} * ToFloat(w.row(c)[k])) * (1 + kUnitBf16);
    return (x.cols + 4) * (kUnit * sum + 0x1p-126);
  };
}

struct Shape {
  int m, n, k;
};
const Shape kShapes[] = {{1, 1, 1},     {1, 16, 32},    {3, 17, 33},   {7, 5, 31},
                         {8, 48, 64},   {9, 49, 65},    {1, 131, 97},  {16, 64, 128},
                         {17, 130, 96}, {33, 47, 1000}, {6, 200, 577}, {64, 97, 320},
                         {2, 400, 70},  {5, 129, 256},  {11, 300, 40}, {4, 113, 192}};

class GemmTest : public testing::TestWithParam<Variant> {
 protected:
  const Table& table() const { return *GetParam().table; }
  Pool pool_{3};
};

template <class W>
void MatchesReference(const Table& table, Pool& pool, WeightType type) {
  for (const auto& [m, n, k] : kShapes) {
    const auto x = Matrix<float>::Random(m, k, m + n, 1, 5);
    const auto w = Matrix<W>::Random(n, k, n + k, 0.5, 1);
    const auto bias = Matrix<float>::Random(1, n, 7);
    const Packed<W> packed(w.view(), type);
    for (const float* b : {static_cast<const float*>(nullptr), bias.view().row(0)}) {
      Matrix<float> want(m, n);
      ref::Gemm(want.view(), x.view(), w.view(), b);
      ExpectWithin(Product(table, pool, x.view(), packed.view, b).view(), want.view(),
                   Bound(x.view(), w.view(), b),
                   std::to_string(m) + "x" + std::to_string(n) + "x" + std::to_string(k));
    }
  }
}

TEST_P(GemmTest, Bf16MatchesReference) { MatchesReference<bf16>(table(), pool_, WeightType::kBf16); }
TEST_P(GemmTest, F32MatchesReference) { MatchesReference<float>(table(), pool_, WeightType::kF32); }

// Every row of every batch size, on any number of threads, has the bits it has alone.
template <class W>
void RowAloneIsRowInBatch(const Table& table, WeightType type) {
  constexpr int kRows = 41, kN = 150, kK = 1100;
  const auto x = Matrix<float>::Random(kRows, kK, 1);
  const auto w = Matrix<W>::Random(kN, kK, 2);
  const auto bias = Matrix<float>::Random(1, kN, 3);
  const Packed<W> packed(w.view(), type);
  Pool one(1), three(3);
  Matrix<float> alone(kRows, kN);
  for (int r = 0; r < kRows; ++r) {
    const auto y = Product(table, one, x.view().Rows(r, 1), packed.view, bias.view().row(0));
    std::copy_n(y.view().row(0), kN, alone.view().row(r));
  }
  for (int m : {2, 3, 4, 5, 6, 7, 8, 9, 13, 16, 17, 24, 31, 33, 41}) {
    for (int begin : {0, kRows - m}) {
      const auto y = Product(table, three, x.view().Rows(begin, m), packed.view, bias.view().row(0));
      ExpectSame(y.view(), alone.view().Rows(begin, m), "batch of " + std::to_string(m));
    }
  }
}

TEST_P(GemmTest, Bf16RowAloneIsRowInBatch) { RowAloneIsRowInBatch<bf16>(table(), WeightType::kBf16); }
TEST_P(GemmTest, F32RowAloneIsRowInBatch) { RowAloneIsRowInBatch<float>(table(), WeightType::kF32); }

TEST_P(GemmTest, NoRowsIsNothing) {
  const auto w = Matrix<float>::Random(5, 4, 1);
  const Packed<float> packed(w.view(), WeightType::kF32);
  const Matrix<float> x(0, 4);
  EXPECT_EQ(Product(table(), pool_, x.view(), packed.view, nullptr).view().rows, 0);
}

TEST_P(GemmTest, NanStaysInItsRow) {
  auto x = Matrix<float>::Random(5, 64, 1);
  const auto w = Matrix<bf16>::Random(33, 64, 2);
  const Packed<bf16> packed(w.view(), WeightType::kBf16);
  const auto before = Product(table(), pool_, x.view(), packed.view, nullptr);
  x.view().row(2)[9] = NAN;
  const auto after = Product(table(), pool_, x.view(), packed.view, nullptr);
  for (int r : {0, 1, 3, 4}) ExpectSame(after.view().Rows(r, 1), before.view().Rows(r, 1), "clean row");
  for (int c = 0; c < 33; ++c) EXPECT_TRUE(std::isnan(after.view().row(2)[c]));
}

INSTANTIATE_TEST_SUITE_P(All, GemmTest, testing::ValuesIn(Variants()),
                         [](const auto& info) { return info.param.name; });

// Stacked pieces read back as they went in, in both types and from both types.
template <class From>
void PackedRowsReadBack(WeightType type) {
  constexpr int kN = 45, kK = 37, kSplit = 19;
  const auto w = Matrix<From>::Random(kN, kK, 5, 1, 2);
  Scratch memory(simd::PackedBytes(type, kN, kK));
  const PackedWeights packed{type, kN, kK, memory.span().data()};
  simd::PackRows(packed, 0, w.view().Rows(0, kSplit));
  simd::PackRows(packed, kSplit, w.view().Rows(kSplit, kN - kSplit));
  for (int n = 0; n < kN; ++n) {
    std::vector<float> row(kK);
    simd::UnpackRow(packed, n, row.data());
    for (int k = 0; k < kK; ++k) {
      const float x = ToFloat(w.view().row(n)[k]);
      EXPECT_EQ(row[k], type == WeightType::kBf16 ? ToFloat(ToBf16(x)) : x);
    }
  }
}
TEST(PackTest, RowsReadBack) {
  for (WeightType type : {WeightType::kBf16, WeightType::kF32}) {
    PackedRowsReadBack<bf16>(type);
    PackedRowsReadBack<float>(type);
  }
}

TEST(PackTest, BytesAreWholeTiles) {
  EXPECT_EQ(simd::PackedBytes(WeightType::kBf16, 960, 576), 960u * 576 * 2);
  EXPECT_EQ(simd::PackedBytes(WeightType::kF32, 960, 576), 960u * 576 * 4);
  EXPECT_EQ(simd::PackedBytes(WeightType::kBf16, 17, 33), 32u * 64 * 2);
}

}  // namespace
}  // namespace hydrad
