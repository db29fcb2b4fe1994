#include "server/base/background.h"

#include <gtest/gtest.h>
#include <sched.h>
#include <sys/resource.h>

#include <chrono>
#include <thread>

namespace hydrad {
namespace {

// How often the calling thread has gone to sleep of its own accord.
long Sleeps() {
  rusage usage;
  getrusage(RUSAGE_THREAD, &usage);
  return usage.ru_nvcsw;
}

// How often the calling thread sleeps while it works for 20 ms and breathes.
long SleepsAtWork() {
  const long before = Sleeps();
  const auto begin = std::chrono::steady_clock::now();
  while (std::chrono::steady_clock::now() - begin < std::chrono::milliseconds(20)) Breathe();
  return Sleeps() - before;
}

TEST(Background, WorkRestsAgainAndAgain) {
  std::thread([] {
    if (StandBack()) {
      EXPECT_EQ(sched_getscheduler(0), SCHED_IDLE);
    }
    EXPECT_GE(SleepsAtWork(), 2);
  }).join();
}

TEST(Background, OtherThreadsDoNotRest) {
  EXPECT_EQ(SleepsAtWork(), 0);
  EXPECT_EQ(sched_getscheduler(0), SCHED_OTHER);
}

}  // namespace
}  // namespace hydrad
