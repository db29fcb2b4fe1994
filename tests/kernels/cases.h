// What the kernel tests share: seeded matrices, aligned scratch, and comparisons that hold for every element
// and name the worst one.
#ifndef HYDRAD_TESTS_KERNELS_CASES_H_
#define HYDRAD_TESTS_KERNELS_CASES_H_

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "kernels/simd/isa.h"
#include "kernels/types.h"

namespace hydrad {

// Unit roundoff: rounding to nearest changes x by at most this much of |x|. Of p significant bits, the hidden
// one counted, numbers in [1, 2) lie 2^(1 - p) apart, so they move by at most 2^-p.
constexpr double kUnit = 0x1p-24;     // of a float
constexpr double kUnitBf16 = 0x1p-8;  // of a bf16

// Every instruction set that this machine runs.
inline std::vector<simd::Isa> Isas() {
  std::vector<simd::Isa> isas;
  for (simd::Isa isa : {simd::Isa::kPortable, simd::Isa::kAvx2, simd::Isa::kAvx512, simd::Isa::kAvx512Bf16,
                        simd::Isa::kAmx}) {
    if (simd::Supported(isa)) isas.push_back(isa);
  }
  return isas;
}
inline std::string IsaName(const testing::TestParamInfo<simd::Isa>& info) { return simd::Name(info.param); }

inline void Put(float& to, float x) { to = x; }
inline void Put(bf16& to, float x) { to = ToBf16(x); }

// A matrix that owns its elements. Rows are `gap` elements further apart than they are long, and what lies
// between them is NaN, so that a kernel that reads it shows.
template <class T>
class Matrix {
 public:
  Matrix(int rows, int cols, int gap = 0) : rows_(rows), cols_(cols), stride_(cols + gap), data_(Size() + 1) {
    for (T& x : data_) Put(x, NAN);
    Fill(0);
  }
  static Matrix Random(int rows, int cols, uint64_t seed, float size = 1, int gap = 0) {
    Matrix m(rows, cols, gap);
    std::mt19937_64 rng(seed);
    std::normal_distribution<float> normal(0, size);
    for (int r = 0; r < rows; ++r) {
      for (int c = 0; c < cols; ++c) Put(m.view().row(r)[c], normal(rng));
    }
    return m;
  }

  void Fill(float x) {
    for (int r = 0; r < rows_; ++r) {
      for (int c = 0; c < cols_; ++c) Put(view().row(r)[c], x);
    }
  }
  Mat<T> view() { return {data_.data(), rows_, cols_, stride_}; }
  Mat<const T> view() const { return {data_.data(), rows_, cols_, stride_}; }

 private:
  size_t Size() const { return static_cast<size_t>(rows_) * stride_; }
  int rows_, cols_;
  int64_t stride_;
  std::vector<T> data_;
};

// 64-byte aligned bytes, full of 0xff (NaN) at first.
class Scratch {
 public:
  explicit Scratch(size_t size) : size_(size), data_(size + 64, std::byte{0xff}) {}
  std::span<std::byte> span() {
    const auto at = reinterpret_cast<uintptr_t>(data_.data());
    return {data_.data() + ((at + 63) / 64 * 64 - at), size_};
  }

 private:
  size_t size_;
  std::vector<std::byte> data_;
};

// |got - want| <= bound(r, c) for every element.
template <class Bound>
void ExpectWithin(Mat<const float> got, Mat<const float> want, const Bound& bound, const std::string& what) {
  double worst = 0;
  int row = 0, col = 0;
  for (int r = 0; r < got.rows; ++r) {
    for (int c = 0; c < got.cols; ++c) {
      const double error = std::fabs(double{got.row(r)[c]} - want.row(r)[c]);
      const double share = std::isnan(error) ? INFINITY : error / (bound(r, c) + 1e-300);
      if (share > worst) worst = share, row = r, col = c;
    }
  }
  EXPECT_LE(worst, 1) << what << ": worst at (" << row << ", " << col << "): got "
                      << (got.rows && got.cols ? got.row(row)[col] : 0) << ", want "
                      << (got.rows && got.cols ? want.row(row)[col] : 0);
}

// Equal to the bit.
inline void ExpectSame(Mat<const float> got, Mat<const float> want, const std::string& what) {
  for (int r = 0; r < got.rows; ++r) {
    for (int c = 0; c < got.cols; ++c) {
      if (std::memcmp(&got.row(r)[c], &want.row(r)[c], sizeof(float)) == 0) continue;
      ADD_FAILURE() << what << ": (" << r << ", " << c << ") is " << got.row(r)[c] << ", not "
                    << want.row(r)[c];
      return;
    }
  }
}

}  // namespace hydrad

#endif  // HYDRAD_TESTS_KERNELS_CASES_H_
