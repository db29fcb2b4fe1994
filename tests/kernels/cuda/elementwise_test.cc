#include "kernels/elementwise.h"

#include <cmath>

#include "tests/kernels/cuda/cuda_cases.h"

namespace hydrad {
namespace {

class CudaElementwiseTest : public CudaTest {};

// Aligned rows, rows that are not, and widths that no vector divides.
struct Width {
  int cols, gap;
};
const Width kWidths[] = {{1, 0}, {8, 0}, {7, 2}, {64, 8}, {64, 3}, {130, 6}, {576, 0}, {4096, 8}};

// A rounding to bf16, and of f32 as many as the sum and the products behind it take.
auto NormBound(const Matrix<float>& want, int width) {
  const double terms = width / 32 + 16;
  return
      [&want, terms](int r, int c) { return (kUnitBf16 + terms * kUnit) * std::fabs(want.view().row(r)[c]); };
}

TEST_F(CudaElementwiseTest, RmsNormOfPickedRowsMatchesReference) {
  for (const Width& w : kWidths) {
    const auto x = Matrix<float>::Random(6, w.cols, w.cols, 2, w.gap),
               weight = Matrix<float>::Random(1, w.cols, 1);
    const DeviceMatrix<float> on_device(x), weights(weight);
    const DeviceMatrix<bf16> got(Matrix<float>(4, w.cols, w.gap));
    const OnDevice<int32_t> rows(std::vector<int32_t>{5, 0, 0, 3});
    Check(cuda::RmsNorm(got, on_device, rows.data(), weights.view().data, 1e-5f, stream_));
    Finish();
    Matrix<float> want(4, w.cols), all(6, w.cols);
    ref::RmsNorm(all.view(), x.view(), weight.view().data, w.cols, 1e-5f);
    for (int r = 0; const int from : {5, 0, 0, 3}) {
      std::copy_n(all.view().row(from), w.cols, want.view().row(r++));
    }
    ExpectWithin(got.Read().view(), want.view(), NormBound(want, w.cols), "width " + std::to_string(w.cols));
  }
}

// A sublayer's output joins the stream, and the norm is of the sum. Widths beyond what registers keep, and
// more rows than there are blocks.
TEST_F(CudaElementwiseTest, AddRmsNormMatchesReference) {
  struct Shape : Width {
    int rows = 3;
  };
  for (const Shape& w :
       {Shape{{7, 2}}, {{64, 8}}, {{576, 3}}, {{1000, 0}}, {{33024, 0}}, {{136, 0}, 600}, {{9, 0}, 300}}) {
    const auto x = Matrix<float>::Random(w.rows, w.cols, w.cols, 2, w.gap);
    const auto delta = Rounded(Matrix<float>::Random(w.rows, w.cols, 2, 1, w.gap));
    const auto weight = Matrix<float>::Random(1, w.cols, 1);
    const DeviceMatrix<float> stream(x), weights(weight);
    const DeviceMatrix<bf16> got(Matrix<float>(w.rows, w.cols)), deltas(delta);
    Check(cuda::AddRmsNorm(got, stream, deltas, weights.view().data, 1e-6f, stream_));
    Finish();
    Matrix<float> sum = x, want(w.rows, w.cols);
    ref::Add(sum.view(), delta.view());
    ref::RmsNorm(want.view(), sum.view(), weight.view().data, w.cols, 1e-6f);
    ExpectSame(stream.Read().view(), sum.view(), "stream");
    ExpectWithin(got.Read().view(), want.view(), NormBound(want, w.cols), "width " + std::to_string(w.cols));
  }
}

TEST_F(CudaElementwiseTest, NormOfHeadsMatchesReferenceInPlace) {
  for (int width : {1, 24, 64, 130}) {
    const auto x = Rounded(Matrix<float>::Random(5, 3 * width, width, 2, 3));
    const auto weight = Matrix<float>::Random(1, width, 1);
    const DeviceMatrix<float> weights(weight);
    const DeviceMatrix<bf16> values(x);
    Check(cuda::RmsNorm(values, values, weights.view().data, width, 1e-5f, stream_));
    Finish();
    Matrix<float> want(5, 3 * width);
    ref::RmsNorm(want.view(), x.view(), weight.view().data, width, 1e-5f);
    ExpectWithin(values.Read().view(), want.view(), NormBound(want, width), "width " + std::to_string(width));
  }
}

TEST_F(CudaElementwiseTest, SiluMulMatchesReference) {
  for (const Width& w : kWidths) {
    auto x = Rounded(Matrix<float>::Random(4, 2 * w.cols, w.cols, 8, w.gap));
    x.view().row(1)[0] = -200, x.view().row(2)[0] = 200, x.view().row(3)[0] = 0;
    const DeviceMatrix<bf16> from(x), got(Matrix<float>(4, w.cols, w.gap));
    Check(cuda::SiluMul(got, from, stream_));
    Finish();
    Matrix<float> want(4, w.cols);
    ref::SiluMul(want.view(), x.view());
    // exp to 2 units, a sum, a quotient, a product; results below the normal range may vanish.
    const auto bound = [&](int r, int c) {
      return (kUnitBf16 + 8 * kUnit) * std::fabs(want.view().row(r)[c]) +
             1e-34 * std::fabs(x.view().row(r)[w.cols + c]);
    };
    ExpectWithin(got.Read().view(), want.view(), bound, "width " + std::to_string(w.cols));
  }
}

TEST_F(CudaElementwiseTest, AddIsExact) {
  for (const Width& w : kWidths) {
    auto want = Matrix<float>::Random(3, w.cols, 1, 1, w.gap);
    const auto delta = Rounded(Matrix<float>::Random(3, w.cols, 2, 1, w.gap));
    const DeviceMatrix<float> got(want);
    Check(cuda::Add(got, DeviceMatrix<bf16>(delta), stream_));
    Finish();
    ref::Add(want.view(), delta.view());
    ExpectSame(got.Read().view(), want.view(), "width " + std::to_string(w.cols));
  }
}

// Every conversion, by a row list and without one, and the embedding: exact, or rounded to nearest even.
TEST_F(CudaElementwiseTest, CopiesOfRowsAreExactOrRoundedToNearest) {
  for (const Width& w : kWidths) {
    const auto x = Matrix<float>::Random(5, w.cols, w.cols, 1, w.gap);
    const auto rounded = Rounded(x);
    const OnDevice<int32_t> rows(std::vector<int32_t>{4, 1, 1});
    const DeviceMatrix<float> floats(x), wide(Matrix<float>(5, w.cols, w.gap)),
        embedded(Matrix<float>(3, w.cols));
    const DeviceMatrix<bf16> narrow(x), picked(Matrix<float>(3, w.cols, w.gap)), table(rounded);
    Check(cuda::CopyRows(picked, floats, rows.data(), stream_));
    Check(cuda::CopyRows(wide, narrow, nullptr, stream_));
    Finish();
    ExpectSame(wide.Read().view(), rounded.view(), "widened");
    const Matrix<float> got = picked.Read();
    for (int r = 0; const int from : {4, 1, 1}) {
      ExpectSame(got.view().Rows(r++, 1), rounded.view().Rows(from, 1), "picked");
    }
    if (w.gap > 0) continue;
    Check(cuda::Embed(embedded, table.view().data, rows.data(), stream_));
    Finish();
    ExpectSame(embedded.Read().view(), got.view(), "embedded");
  }
}

TEST_F(CudaElementwiseTest, NoRowsIsNothing) {
  const DeviceMatrix<float> x(Matrix<float>(0, 8));
  const DeviceMatrix<bf16> y(Matrix<float>(0, 8));
  EXPECT_EQ(cuda::Add(x, y, stream_), cudaSuccess);
  EXPECT_EQ(cuda::RmsNorm(y, x, nullptr, nullptr, 1, stream_), cudaSuccess);
  EXPECT_EQ(cuda::RmsNorm(y, y, nullptr, 3, 1, stream_), cudaErrorInvalidValue);
  Finish();
}

struct RopeShape {
  int heads, kv_heads, head_dim, block_size, gap;
  bool norm;
};

// Against norm, rotation and cache write of the reference, one after the other. The last row is padding.
TEST_F(CudaElementwiseTest, RopeWriteKvMatchesReference) {
  for (const RopeShape& s : {RopeShape{4, 2, 64, 16, 0, false},
                             {3, 3, 16, 4, 2, true},
                             {2, 1, 34, 3, 1, true},
                             {2, 1, 128, 16, 8, true},
                             {1, 1, 1, 1, 0, false},
                             {5, 1, 33, 7, 3, true}}) {
    constexpr int kRows = 5;
    const int q = s.heads * s.head_dim, kv = s.kv_heads * s.head_dim, blocks = 40;
    const std::vector<int32_t> positions{0, 1, 7, 30, 0};
    std::vector<int32_t> slots{3, 0, 17, 22, -1};
    const auto x = Rounded(Matrix<float>::Random(kRows, q + 2 * kv, 3, 1, s.gap));
    const auto q_norm = Matrix<float>::Random(1, s.head_dim, 4),
               k_norm = Matrix<float>::Random(1, s.head_dim, 5);
    std::vector<double> inv_freq;
    for (int i = 0; i < s.head_dim / 2; ++i) inv_freq.push_back(std::pow(1e4, -2.0 * i / s.head_dim));
    std::vector<int32_t> every(31);
    for (int i = 0; i < 31; ++i) every[i] = i;
    Matrix<float> table(31, s.head_dim), cos_sin(kRows, s.head_dim);
    RopeTable(table.view(), every, inv_freq);
    RopeTable(cos_sin.view(), positions, inv_freq);

    Matrix<float> normed(kRows, q + 2 * kv), want(kRows, q + 2 * kv);
    for (int r = 0; r < kRows; ++r) std::copy_n(x.view().row(r), q + 2 * kv, normed.view().row(r));
    if (s.norm) {
      ref::RmsNorm(normed.view().Cols(0, q), x.view().Cols(0, q), q_norm.view().data, s.head_dim, 1e-6f);
      ref::RmsNorm(normed.view().Cols(q, kv), x.view().Cols(q, kv), k_norm.view().data, s.head_dim, 1e-6f);
    }
    want = normed;
    ref::Rope(want.view().Cols(0, q + kv), s.heads + s.kv_heads, s.head_dim, cos_sin.view());

    const DeviceMatrix<bf16> rows(x);
    const DeviceMatrix<float> tables(table), q_norms(q_norm), k_norms(k_norm);
    const OnDevice<int32_t> at(positions), to(slots);
    const size_t cached = size_t(blocks) * s.block_size * kv;
    const OnDevice<bf16> k(std::vector<bf16>(cached, bf16{0x1234})),
        v(std::vector<bf16>(cached, bf16{0x1234}));
    const cuda::RopeArgs args{s.heads,
                              s.norm ? q_norms.view().data : nullptr,
                              s.norm ? k_norms.view().data : nullptr,
                              1e-6f,
                              tables.view().data,
                              at.data(),
                              to.data()};
    Check(cuda::RopeWriteKv(rows, args, {k.data(), v.data(), s.block_size, s.kv_heads, s.head_dim}, stream_));
    Finish();

    // A rounding to bf16, and the rounding of a rotation of two numbers (and of their norm).
    const auto bound = [&](Mat<const float> of, Mat<const float> before) {
      return [=, &s](int r, int c) {
        const int d = c % s.head_dim, half = s.head_dim / 2;
        const int pair = d == 2 * half ? c : d < half ? c + half : c - half;
        const double size = std::fabs(before.row(r)[c]) + std::fabs(before.row(r)[pair]);
        return kUnitBf16 * std::fabs(of.row(r)[c]) +
               (kUnitBf16 * 1e-3 + (s.head_dim / 32 + 20) * kUnit) * size;
      };
    };
    const std::string what = "head_dim " + std::to_string(s.head_dim);
    ExpectWithin(rows.Read().view().Cols(0, q), want.view().Cols(0, q),
                 bound(want.view().Cols(0, q), normed.view().Cols(0, q)), what + " q");
    const std::vector<bf16> keys = k.Read(), values = v.Read();
    Matrix<float> got_k(kRows - 1, kv), got_v(kRows - 1, kv);
    size_t touched = 0;
    for (const bf16 b : keys) touched += b.bits != 0x1234;
    for (int r = 0; r + 1 < kRows; ++r) {
      for (int c = 0; c < kv; ++c) {
        const int64_t i = ((slots[r] / s.block_size * s.kv_heads + c / s.head_dim) * s.block_size +
                           slots[r] % s.block_size) *
                              s.head_dim +
                          c % s.head_dim;
        got_k.view().row(r)[c] = ToFloat(keys[i]);
        got_v.view().row(r)[c] = ToFloat(values[i]);
      }
    }
    EXPECT_LE(touched, size_t{kRows - 1} * kv) << what;
    ExpectWithin(got_k.view(), want.view().Cols(q, kv),
                 bound(want.view().Cols(q, kv), normed.view().Cols(q, kv)), what + " k");
    ExpectSame(got_v.view(), x.view().Rows(0, kRows - 1).Cols(q + kv, kv), what + " v");
  }
}

// A cache of more than 2^32 elements: only the block behind them is there.
TEST_F(CudaElementwiseTest, RopeWriteKvReachesBlocksFarIntoTheCache) {
  for (const int head_dim : {64, 33}) {  // in pairs, and element by element
    constexpr int kKvHeads = 2, kBlockSize = 16;
    const int64_t elements = int64_t{kKvHeads} * kBlockSize * head_dim;  // of a block
    const auto block = static_cast<int32_t>((int64_t{1} << 32) / elements + 3);
    const auto x = Rounded(Matrix<float>::Random(1, 3 * kKvHeads * head_dim, 3));
    const DeviceMatrix<bf16> rows(x);
    const DeviceMatrix<float> tables(Matrix<float>::Random(1, head_dim, 4));
    const OnDevice<int32_t> at(std::vector<int32_t>{0}), to(std::vector<int32_t>{block * kBlockSize + 5});
    const std::vector<bf16> zeros(static_cast<size_t>(elements));
    const OnDevice<bf16> k(zeros), v(zeros);
    const KvLayer<bf16> kv = {Before(k.data(), block * elements), Before(v.data(), block * elements),
                              kBlockSize, kKvHeads, head_dim};
    Check(cuda::RopeWriteKv(rows, {kKvHeads, nullptr, nullptr, 0, tables.view().data, at.data(), to.data()},
                            kv, stream_));
    Finish();
    const std::vector<bf16> values = v.Read();
    for (int head = 0; head < kKvHeads; ++head) {
      for (int d = 0; d < head_dim; ++d) {
        const size_t i = static_cast<size_t>(head * kBlockSize + 5) * head_dim + d;
        EXPECT_EQ(ToFloat(values[i]), x.view().row(0)[(2 * kKvHeads + head) * head_dim + d])
            << head << ' ' << d;
      }
    }
    EXPECT_NE(ToFloat(k.Read()[5 * head_dim]), 0) << "the key is there too";
  }
}

}  // namespace
}  // namespace hydrad
