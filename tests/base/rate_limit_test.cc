#include "server/base/rate_limit.h"

#include <gtest/gtest.h>

#include "tests/fakes/fake_clock.h"

namespace hydrad {
namespace {

TEST(RateGateTest, LetsSoManyThroughASecondAndCountsTheRest) {
  FakeClock clock;
  RateLimit gate(2, clock);
  EXPECT_EQ(gate.Pass(), 0);
  EXPECT_EQ(gate.Pass(), 0);
  for (int i = 0; i < 5; ++i) EXPECT_EQ(gate.Pass(), std::nullopt);
  clock.Advance(std::chrono::seconds(1));
  EXPECT_EQ(gate.Pass(), 5);
  EXPECT_EQ(gate.Pass(), 0) << "they are told of once";
  EXPECT_EQ(gate.Pass(), std::nullopt);
}

}  // namespace
}  // namespace hydrad
