#include "server/backend/weight_format.h"

#include <gtest/gtest.h>

#include <array>

namespace hydrad {
namespace {

TEST(Sizes, AreOfWholeBytes) {
  EXPECT_EQ(BytesOf(3, DType::kF32), 12u);
  EXPECT_EQ(BytesOf(3, DType::kBf16), 6u);
  EXPECT_EQ(BytesOf(3, DType::kF16), 6u);
  EXPECT_EQ(BytesOf(4, 4), 2u);
  EXPECT_EQ(BytesOf(5, 4), 3u) << "half a byte is a byte";
  EXPECT_EQ(BytesOf(0, 4), 0u);
  EXPECT_EQ(BytesOf(size_t{1} << 31, DType::kF32), size_t{1} << 33);
}

TEST(Sizes, OfATensorsParts) {
  std::array<float, 12> numbers{};
  const Tensor all{numbers.data(), DType::kF32, 3, 4, 4};
  EXPECT_EQ(all.Rows(2, 1).data, &numbers[8]);
  EXPECT_EQ(all.Rows(1, 2).Cols(3, 1).data, &numbers[7]);
  Tensor half = all;
  half.dtype = DType::kBf16;
  EXPECT_EQ(half.Rows(2, 1).Cols(2, 2).data, &numbers[5]);
}

TEST(WeightFormat, PlainWeightsAreTheirValues) {
  EXPECT_EQ(kBf16Weights.Bytes(3, 5), 30u);
  EXPECT_EQ(kF32Weights.Bytes(3, 5), 60u);
}

TEST(WeightFormat, ScalesStandBesideTheValues) {
  constexpr WeightFormat kFours = {.name = "int4", .bits = 4, .group = 32, .scale_bits = 16};
  EXPECT_EQ(kFours.Bytes(1, 64), 32u + 2 * 2);
  EXPECT_EQ(kFours.Bytes(10, 64), 10 * (32u + 2 * 2));
  EXPECT_EQ(kFours.Bytes(2, 65), 2 * (33u + 3 * 2)) << "rows begin at a byte, the cut group has a scale";
}

}  // namespace
}  // namespace hydrad
