#include "server/backend/cpu/aligned_buffer.h"

#include <gtest/gtest.h>

#include <cmath>

namespace hydrad {
namespace {

TEST(AlignedBuffer, IsAlignedAndAsLongAsAskedFor) {
  for (const size_t bytes :
       {size_t{0}, size_t{1}, size_t{63}, size_t{4096}, size_t{1} << 20, (size_t{5} << 20) + 7}) {
    const auto buffer = AlignedBuffer::Allocate(bytes);
    ASSERT_TRUE(buffer.ok()) << bytes;
    EXPECT_EQ((*buffer)->bytes(), bytes);
    const uintptr_t alignment = bytes >= size_t{2} << 20 ? size_t{2} << 20 : 64;
    EXPECT_EQ(reinterpret_cast<uintptr_t>((*buffer)->data()) % alignment, 0) << bytes;
    std::memset((*buffer)->data(), 1, bytes);  // all of it is there
  }
}

TEST(AlignedBuffer, SaysSoWhenThereIsNoRoom) {
  for (const size_t bytes : {SIZE_MAX, SIZE_MAX / 2, size_t{1} << 60}) {
    EXPECT_EQ(AlignedBuffer::Allocate(bytes).status().code(), absl::StatusCode::kResourceExhausted) << bytes;
  }
}

TEST(AlignedBuffer, PoisonsInBuildsWithAsserts) {
#ifdef NDEBUG
  constexpr bool kPoisons = false;
#else
  constexpr bool kPoisons = true;
#endif
  float value = 1;
  Poison(&value, sizeof(value));
  EXPECT_EQ(std::isnan(value), kPoisons);
  const auto buffer = AlignedBuffer::Allocate(size_t{4} << 20);
  EXPECT_EQ(std::isnan(static_cast<float*>((*buffer)->data())[12345]), kPoisons);
}

}  // namespace
}  // namespace hydrad
