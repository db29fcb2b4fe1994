#include "server/signals.h"

#include <gtest/gtest.h>
#include <unistd.h>

namespace hydrad {
namespace {

TEST(SignalsTest, TheFirstIsReported) {
  Signals signals;
  signals.Arm();
  kill(getpid(), SIGTERM);
  EXPECT_EQ(signals.AwaitFirst(), SIGTERM);
  EXPECT_EQ(signals.AwaitFirst(), SIGTERM);
}

TEST(SignalsTest, EndsWithoutOne) { Signals signals; }

TEST(SignalsTest, LingersForTheGivenTime) {
  Signals signals;
  signals.Linger(std::chrono::milliseconds(1));
}

TEST(SignalsTest, ABrokenPipeIsNone) {
  Signals signals;
  kill(getpid(), SIGPIPE);
}

TEST(SignalsDeathTest, OneThatComesBeforeThereIsAnythingToDrainEndsTheProcess) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  EXPECT_EXIT(
      {
        Signals signals;
        kill(getpid(), SIGTERM);
        signals.Linger(std::chrono::hours(1));
      },
      testing::ExitedWithCode(128 + SIGTERM), "");
}

TEST(SignalsDeathTest, TheSecondEndsTheProcessAtOnce) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  EXPECT_EXIT(
      {
        Signals signals;
        signals.Arm();
        kill(getpid(), SIGTERM);
        signals.AwaitFirst();
        kill(getpid(), SIGINT);
        signals.Linger(std::chrono::hours(1));
      },
      testing::ExitedWithCode(128 + SIGINT), "");
}

}  // namespace
}  // namespace hydrad
