#include "server/base/background.h"

#include <gtest/gtest.h>
#include <sched.h>
#include <sys/resource.h>

#include <thread>

namespace hydrad {
namespace {

// How often the calling thread has gone to sleep of its own accord.
long Sleeps() {
  rusage usage;
  getrusage(RUSAGE_THREAD, &usage);
  return usage.ru_nvcsw;
}

void Work() {
  for (int i = 0; i < 100000; ++i) Throttle();
}

TEST(Background, WorkRestsAgainAndAgain) {
  std::thread([] {
    if (RunInBackground()) {
      EXPECT_EQ(sched_getscheduler(0), SCHED_IDLE);
    }
    const long before = Sleeps();
    for (int i = 0; i < 1000 && Sleeps() < before + 3; ++i) Work();  // a busy machine takes a while
    EXPECT_GE(Sleeps(), before + 3);
  }).join();
}

TEST(Background, OtherThreadsDoNotRest) {
  const long before = Sleeps();
  Work();
  EXPECT_EQ(Sleeps(), before);
  EXPECT_EQ(sched_getscheduler(0), SCHED_OTHER);
}

}  // namespace
}  // namespace hydrad
