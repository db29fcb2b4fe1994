#include "server/front/caller.h"

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
