#include "server/adapters/formats/tensor_check.h"

#include <fmt/core.h>
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

namespace hydrad {
namespace {

template <class Word>
std::vector<std::byte> BytesOf(const std::vector<Word>& words) {
  std::vector<std::byte> bytes(words.size() * sizeof(Word));
  std::memcpy(bytes.data(), words.data(), bytes.size());
  return bytes;
}
absl::StatusOr<HostMatrix> Check(const std::string& dtype, std::vector<int64_t> shape,
                                 std::span<const std::byte> data, TensorStorage& storage) {
  return CheckedMatrix({dtype, std::move(shape), data}, 2, 3, storage);
}
std::string Error(const std::string& dtype, std::vector<int64_t> shape, const std::vector<std::byte>& data) {
  TensorStorage storage;
  return std::string(Check(dtype, std::move(shape), data, storage).status().message());
}

TEST(CheckedMatrix, F32AndBf16StayWhereTheyAre) {
  TensorStorage storage;
  const auto floats = BytesOf<float>({1, 2, 3, 4, 5, 6});
  const auto f32 = Check("F32", {2, 3}, floats, storage);
  ASSERT_TRUE(f32.ok()) << f32.status();
  EXPECT_EQ(f32->data, floats.data());
  EXPECT_EQ(f32->dtype, DType::kF32);
  EXPECT_EQ(f32->rows, 2);
  EXPECT_EQ(f32->cols, 3);
  const auto halves = BytesOf<uint16_t>({0x3f80, 0, 0x8000, 0x7f7f, 0xff7f, 1});
  const auto bf16 = Check("BF16", {2, 3}, halves, storage);
  ASSERT_TRUE(bf16.ok()) << bf16.status();
  EXPECT_EQ(bf16->data, halves.data());
  EXPECT_EQ(storage.bytes(), 0u);
}

// Against the definition of the format: every finite half.
TEST(CheckedMatrix, F16BecomesTheSameNumberInF32) {
  for (int bits = 0; bits < 0x10000; bits += 6) {
    std::vector<uint16_t> halves;
    for (int i = 0; i < 6; ++i)
      halves.push_back(static_cast<uint16_t>(bits + i) & 0xfbff);  // keeps exponents finite
    const auto data = BytesOf(halves);
    TensorStorage storage;
    const auto matrix = Check("F16", {2, 3}, data, storage);
    ASSERT_TRUE(matrix.ok()) << matrix.status();
    ASSERT_EQ(matrix->dtype, DType::kF32);
    for (int i = 0; i < 6; ++i) {
      const int exponent = halves[i] >> 10 & 31, mantissa = halves[i] & 1023;
      const double magnitude =
          exponent == 0 ? std::ldexp(mantissa, -24) : std::ldexp(1024 + mantissa, exponent - 25);
      const float expected = static_cast<float>(halves[i] & 0x8000 ? -magnitude : magnitude);
      const float actual = static_cast<const float*>(matrix->data)[i];
      ASSERT_EQ(std::bit_cast<uint32_t>(actual), std::bit_cast<uint32_t>(expected)) << halves[i];
    }
  }
}

TEST(CheckedMatrix, ShapeIsExact) {
  const auto data = BytesOf<float>({1, 2, 3, 4, 5, 6});
  EXPECT_EQ(Error("F32", {3, 2}, data), "shape [3, 2] is not [2, 3]");
  EXPECT_EQ(Error("F32", {6}, data), "shape [6] is not [2, 3]");
  EXPECT_EQ(Error("F32", {1, 2, 3}, data), "shape [1, 2, 3] is not [2, 3]");
  EXPECT_EQ(Error("F32", {}, data), "shape [] is not [2, 3]");
}

TEST(CheckedMatrix, OtherTypesAreRefused) {
  for (const char* dtype : {"F64", "I8", "F8_E4M3", "BOOL", "U32"}) {
    EXPECT_EQ(Error(dtype, {2, 3}, {}), std::string("dtype ") + dtype + " is not F32, BF16 or F16");
  }
}

TEST(CheckedMatrix, EveryPlaceOfANonFiniteValueIsFound) {
  const std::vector<uint32_t> words = {0x7f800000, 0xff800000, 0x7fc00000, 0x7f800001};
  for (const uint32_t word : words) {
    for (int at = 0; at < 6; ++at) {
      const std::string place = fmt::format("the value at [{}, {}] is NaN or infinite", at / 3, at % 3);
      std::vector<uint32_t> f32(6, 0x7f7fffff);
      f32[at] = word;
      EXPECT_EQ(Error("F32", {2, 3}, BytesOf(f32)), place);
      std::vector<uint16_t> bf16(6, 0x7f7f);
      bf16[at] = static_cast<uint16_t>(word >> 16 | (word & 1));
      EXPECT_EQ(Error("BF16", {2, 3}, BytesOf(bf16)), place);
      std::vector<uint16_t> f16(6, 0x7bff);
      f16[at] = static_cast<uint16_t>((word >> 16 & 0x8000) | 0x7c00 | (word >> 13 & 0x3ff) | (word & 1));
      EXPECT_EQ(Error("F16", {2, 3}, BytesOf(f16)), place);
    }
  }
}

TEST(CheckedMatrix, LastValueOfALargeUnalignedTensorIsLookedAt) {
  constexpr int kRows = 97, kCols = 101;
  std::vector<std::byte> bytes(1 + 4 * kRows * kCols);
  TensorStorage storage;
  const TensorInfo tensor{"F32", {kRows, kCols}, std::span<const std::byte>(bytes).subspan(1)};
  EXPECT_TRUE(CheckedMatrix(tensor, kRows, kCols, storage).ok());
  const float nan = std::numeric_limits<float>::quiet_NaN();
  std::memcpy(bytes.data() + bytes.size() - 4, &nan, 4);
  EXPECT_EQ(CheckedMatrix(tensor, kRows, kCols, storage).status().message(),
            "the value at [96, 100] is NaN or infinite");
}

}  // namespace
}  // namespace hydrad
