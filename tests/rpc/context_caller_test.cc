#include "server/rpc/context_caller.h"

#include <gtest/gtest.h>

#include "tests/fakes/fake_clock.h"

namespace hydrad {
namespace {

TEST(DeadlineAfterTest, NoNumberOfSecondsOverflows) {
  FakeClock clock;
  const auto in = [&](int64_t seconds) { return DeadlineAfter({seconds, 5, GPR_TIMESPAN}, clock); };
  EXPECT_EQ(in(3), clock.Now() + std::chrono::seconds(3) + std::chrono::nanoseconds(5));
  EXPECT_LT(*in(-3), clock.Now());
  EXPECT_LT(*in(INT64_MIN), clock.Now());
  EXPECT_EQ(in(int64_t{99'999'999} * 3600), std::nullopt);
  EXPECT_EQ(in(INT64_MAX), std::nullopt);
}

}  // namespace
}  // namespace hydrad
