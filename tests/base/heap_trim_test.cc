#include "server/base/heap_trim.h"

#include <gtest/gtest.h>

#include "tests/fakes/fake_clock.h"

namespace hydrad {
namespace {

TEST(HeapTrimTest, WhenAFloodHasEbbed) {
  FakeClock clock;
  HeapTrim trim;
  const auto due = [&](size_t mib) { return trim.Due(mib << 20, clock.Now()); };
  EXPECT_FALSE(due(0));
  EXPECT_FALSE(due(4));
  EXPECT_FALSE(due(0)) << "no flood";
  EXPECT_FALSE(due(100));
  EXPECT_FALSE(due(50)) << "not yet over";
  EXPECT_TRUE(due(25));
  EXPECT_FALSE(due(0)) << "once";
  EXPECT_FALSE(due(100));
  EXPECT_FALSE(due(0)) << "too soon after the last";
  clock.Advance(HeapTrim::kRest);
  EXPECT_TRUE(due(0));
}

}  // namespace
}  // namespace hydrad
