#include "server/rpc/caller.h"

#include <gtest/gtest.h>

#include "tests/fakes/fake_clock.h"

namespace hydrad {
namespace {

TEST(BearerKeyTest, TakesWhatFollowsTheScheme) {
  EXPECT_EQ(*BearerKey("Bearer abc"), "abc");
  EXPECT_EQ(*BearerKey("bearer a b "), "a b ");
}

TEST(BearerKeyTest, AnythingElseIsUnauthenticated) {
  for (const char* text : {"", "Bearer", "Bearer ", "Basic abc", "abc", "Bearerabc"}) {
    EXPECT_EQ(BearerKey(text).status().code(), absl::StatusCode::kUnauthenticated) << text;
  }
}

TEST(DeadlineAfterTest, NoNumberOfSecondsOverflows) {
  FakeClock clock;
  const auto in = [&](int64_t seconds) { return DeadlineAfter({seconds, 5, GPR_TIMESPAN}, clock); };
  EXPECT_EQ(in(3), clock.Now() + std::chrono::seconds(3) + std::chrono::nanoseconds(5));
  EXPECT_LT(*in(-3), clock.Now());
  EXPECT_LT(*in(INT64_MIN), clock.Now());
  EXPECT_EQ(in(int64_t{99'999'999} * 3600), std::nullopt);
  EXPECT_EQ(in(INT64_MAX), std::nullopt);
}

TEST(CancelStatusTest, ACallWhoseTimeRanOutIsNotCalledCancelled) {
  FakeClock clock;
  const TimePoint deadline = clock.Now() + std::chrono::seconds(1);
  EXPECT_EQ(CancelStatus(std::nullopt, clock).code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(CancelStatus(deadline, clock).code(), absl::StatusCode::kCancelled);
  clock.Advance(std::chrono::seconds(1));
  EXPECT_EQ(CancelStatus(deadline, clock).code(), absl::StatusCode::kDeadlineExceeded);
}

}  // namespace
}  // namespace hydrad
