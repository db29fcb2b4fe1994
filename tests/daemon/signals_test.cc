#include "server/signals.h"

#include <gtest/gtest.h>
#include <unistd.h>

namespace hydrad {
namespace {

TEST(SignalsTest, TheFirstIsReported) {
  Signals signals;
  signals.Arm();
  kill(getpid(), SIGTERM);
  EXPECT_EQ(signals.AwaitNext(), SIGTERM);
  EXPECT_EQ(signals.AwaitNext(), SIGTERM);
}

TEST(SignalsTest, EndsWithoutOne) { Signals signals; }

TEST(SignalsTest, LingersForTheGivenTime) {
  Signals signals;
  signals.Linger(std::chrono::milliseconds(1));
}

TEST(SignalsTest, NoOtherSignalEndsTheProcess) {
  Signals signals;
  for (int number = 1; number <= SIGRTMAX; ++number) {
    const bool fatal = number == SIGKILL || number == SIGSTOP || (number >= 32 && number < SIGRTMIN);
    const bool end = number == SIGTERM || number == SIGINT || number == SIGQUIT;
    const bool crash = number == SIGSEGV || number == SIGBUS || number == SIGFPE || number == SIGILL ||
                       number == SIGTRAP || number == SIGSYS || number == SIGABRT;
    const bool stop = number == SIGTSTP || number == SIGTTIN || number == SIGTTOU;
    if (!fatal && !end && !crash && !stop) kill(getpid(), number);
  }
}

TEST(SignalsTest, AHangUpAsksForTheConfigurationAndWaitsUntilItCanBeHad) {
  Signals signals;
  kill(getpid(), SIGHUP);
  signals.Arm();
  EXPECT_EQ(signals.AwaitNext(), SIGHUP);
  kill(getpid(), SIGHUP);
  EXPECT_EQ(signals.AwaitNext(), SIGHUP);
  kill(getpid(), SIGQUIT);
  EXPECT_EQ(signals.AwaitNext(), SIGQUIT);
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
        signals.AwaitNext();
        kill(getpid(), SIGINT);
        signals.Linger(std::chrono::hours(1));
      },
      testing::ExitedWithCode(128 + SIGINT), "");
}

}  // namespace
}  // namespace hydrad
