#include "server/backend/cpu/packed_weight.h"

#include <gtest/gtest.h>

#include <random>

#include "kernels/simd/pool.h"

namespace hydrad {
namespace {

std::vector<float> Random(int count, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<float> values(count);
  for (float& value : values) value = ToFloat(ToBf16(std::uniform_real_distribution<float>(-1, 1)(random)));
  return values;
}

// Parts of odd heights, some wider than a task, stand under each other as they were given.
TEST(PackedWeight, StacksItsParts) {
  simd::Pool pool(3);
  const int cols = 37, heights[] = {1, 70, 13, 129};
  std::vector<std::vector<float>> values;
  std::vector<HostMatrix> parts;
  for (const int rows : heights) {
    values.push_back(Random(rows * cols, static_cast<uint32_t>(rows)));
    parts.push_back({values.back().data(), DType::kF32, rows, cols});
  }
  for (const WeightType type : {WeightType::kBf16, WeightType::kF32}) {
    const auto weight = PackedWeight::Pack(pool, type, parts, {});
    ASSERT_TRUE(weight.ok());
    EXPECT_EQ((*weight)->rows(), 213);
    EXPECT_EQ((*weight)->cols(), cols);
    EXPECT_EQ((*weight)->bias(), nullptr);
    int n = 0;
    for (size_t part = 0; part < parts.size(); ++part) {
      for (int r = 0; r < parts[part].rows; ++r, ++n) {
        std::vector<float> row(cols);
        simd::UnpackRow((*weight)->packed(), n, row.data());
        const float* expected = values[part].data() + r * cols;
        ASSERT_EQ(row, std::vector<float>(expected, expected + cols)) << "row " << n;
      }
    }
  }
}

TEST(PackedWeight, CountsItsBytesAndKeepsItsBias) {
  simd::Pool pool(1);
  const std::vector<float> values = Random(20 * 8, 1), bias = Random(20, 2);
  const HostMatrix part{values.data(), DType::kF32, 20, 8};
  const auto weight = PackedWeight::Pack(pool, WeightType::kBf16, {&part, 1}, bias);
  ASSERT_TRUE(weight.ok());
  EXPECT_EQ((*weight)->bytes(), simd::PackedBytes(WeightType::kBf16, 20, 8) + 20 * sizeof(float));
  EXPECT_EQ(std::vector<float>((*weight)->bias(), (*weight)->bias() + 20), bias);
}

}  // namespace
}  // namespace hydrad
