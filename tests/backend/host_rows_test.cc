#include "server/backend/host_rows.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

namespace hydrad {
namespace {

// The definition of IEEE half precision, in double.
double HalfByDefinition(uint16_t half) {
  const int exponent = half >> 10 & 31, fraction = half & 1023;
  const double sign = half & 0x8000 ? -1 : 1;
  if (exponent == 31) return fraction ? NAN : sign * INFINITY;
  return exponent == 0 ? sign * std::ldexp(fraction, -24) : sign * std::ldexp(1024 + fraction, exponent - 25);
}

TEST(HostRows, ReadsEveryHalf) {
  for (int bits = 0; bits <= 0xffff; ++bits) {
    const double expected = HalfByDefinition(static_cast<uint16_t>(bits));
    const float got = HalfToFloat(static_cast<uint16_t>(bits));
    if (std::isnan(expected)) {
      ASSERT_TRUE(std::isnan(got)) << bits;
    } else {
      ASSERT_EQ(got, expected) << bits;
      ASSERT_EQ(std::signbit(got), (bits & 0x8000) != 0) << bits;
    }
  }
}

// Rows 1 and 2 of a [4, 3] matrix that begins at an odd address.
template <class Source, class T>
std::vector<float> CopyUnaligned(DType dtype, const std::vector<Source>& values) {
  std::vector<std::byte> bytes(1 + values.size() * sizeof(Source));
  std::memcpy(bytes.data() + 1, values.data(), values.size() * sizeof(Source));
  std::vector<T> rows(6);
  CopyRows(HostMatrix{bytes.data() + 1, dtype, 4, 3}, 1, 2, rows.data());
  std::vector<float> floats;
  for (const T& value : rows) floats.push_back(ToFloat(value));
  return floats;
}

TEST(HostRows, CopiesFromAnyTypeAndAddress) {
  const std::vector<float> expected = {3, 4, 5, 6, 7, 8};
  std::vector<float> floats(12);
  std::vector<uint16_t> bf16s(12), halves(12);
  for (int i = 0; i < 12; ++i) {
    floats[i] = static_cast<float>(i);
    bf16s[i] = ToBf16(static_cast<float>(i)).bits;
    const int log = i == 0 ? 0 : std::ilogb(i);  // i = 2^log * (1 + fraction)
    halves[i] = i == 0 ? 0 : static_cast<uint16_t>((log + 15) << 10 | (i << (10 - log) & 1023));
  }
  EXPECT_EQ((CopyUnaligned<float, float>(DType::kF32, floats)), expected);
  EXPECT_EQ((CopyUnaligned<float, bf16>(DType::kF32, floats)), expected);
  EXPECT_EQ((CopyUnaligned<uint16_t, float>(DType::kBf16, bf16s)), expected);
  EXPECT_EQ((CopyUnaligned<uint16_t, bf16>(DType::kBf16, bf16s)), expected);
  EXPECT_EQ((CopyUnaligned<uint16_t, float>(DType::kF16, halves)), expected);
  EXPECT_EQ((CopyUnaligned<uint16_t, bf16>(DType::kF16, halves)), expected);
}

TEST(HostRows, RoundsToTheNearestBf16AndKeepsNan) {
  const float values[] = {1 + 0x1p-8f, 1 + 3 * 0x1p-8f, NAN, INFINITY};
  bf16 rounded[4];
  CopyRows(HostMatrix{values, DType::kF32, 1, 4}, 0, 1, rounded);
  EXPECT_EQ(ToFloat(rounded[0]), 1);  // half way: to even
  EXPECT_EQ(ToFloat(rounded[1]), 1 + 4 * 0x1p-8f);
  EXPECT_TRUE(std::isnan(ToFloat(rounded[2])));
  EXPECT_EQ(ToFloat(rounded[3]), INFINITY);
}

TEST(HostRows, AreTheSameWhateverTheirType) {
  const float floats[] = {0, 1, 2, 3, 4, 5};
  const bf16 block[] = {ToBf16(2), ToBf16(3)};
  const HostMatrix x{floats, DType::kF32, 3, 2}, rows{block, DType::kBf16, 1, 2};
  EXPECT_TRUE(SameRows(x, 1, rows));
  EXPECT_FALSE(SameRows(x, 0, rows));
  EXPECT_FALSE(SameRows(x, 1, HostMatrix{block, DType::kBf16, 2, 1})) << "of another width";
}

}  // namespace
}  // namespace hydrad
