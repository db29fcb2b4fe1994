#include "server/adapters/store/loader.h"

#include <gtest/gtest.h>
#include <sched.h>
#include <sys/resource.h>

#include <atomic>
#include <barrier>
#include <future>
#include <string>
#include <vector>

#include "server/base/sha256.h"

namespace hydrad {
namespace {

struct Manner {
  int policy = -1;
  long rests = -1;
};

// How a thread of a loader goes about a digest of 16 MB.
Manner MannerOfWork(bool in_background) {
  const std::string text(16 << 20, 'x');
  Manner manner;
  Loader loader(1, 1, in_background);
  EXPECT_TRUE(loader.Submit([&] {
    rusage before, after;
    getrusage(RUSAGE_THREAD, &before);
    Sha256::Of(text);
    getrusage(RUSAGE_THREAD, &after);
    manner = {sched_getscheduler(0), after.ru_nvcsw - before.ru_nvcsw};
  }));
  loader.Stop();
  return manner;
}

TEST(Loader, ThreadsThatStandBackRestAtWork) {
  const Manner back = MannerOfWork(/*in_background=*/true);
  EXPECT_EQ(back.policy, SCHED_IDLE);
  EXPECT_GE(back.rests, 1);
  const Manner ahead = MannerOfWork(/*in_background=*/false);
  EXPECT_EQ(ahead.policy, SCHED_OTHER);
  EXPECT_EQ(ahead.rests, 0);
}

TEST(Loader, RunsJobsInOrderOnOneThread) {
  std::vector<int> order;
  {
    Loader loader(1, 100);
    for (int i = 0; i < 10; ++i) EXPECT_TRUE(loader.Submit([&order, i] { order.push_back(i); }));
  }
  EXPECT_EQ(order, (std::vector<int>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}));
}

TEST(Loader, RunsAsManyAtOnceAsItHasThreads) {
  std::barrier together(3);  // passed only when three jobs stand at it
  Loader loader(3, 100);
  for (int i = 0; i < 3; ++i) {
    EXPECT_TRUE(loader.Submit([&] { together.arrive_and_wait(); }));
  }
  loader.Stop();
}

TEST(Loader, RefusesBeyondItsQueue) {
  std::promise<void> started, go;  // outlive the loader's threads
  Loader loader(1, 2);
  ASSERT_TRUE(loader.Submit([&] {
    started.set_value();
    go.get_future().wait();
  }));
  started.get_future().wait();  // the running job is in no queue
  EXPECT_TRUE(loader.Submit([] {}));
  EXPECT_TRUE(loader.Submit([] {}));
  EXPECT_FALSE(loader.Submit([] {}));
  go.set_value();
}

TEST(Loader, PostedJobsAreNeverTooMany) {
  std::promise<void> started, go;
  std::atomic<int> ran = 0;
  Loader loader(1, 0, /*in_background=*/true);
  EXPECT_FALSE(loader.Submit([] {}));
  ASSERT_TRUE(loader.Post([&] {
    started.set_value();
    go.get_future().wait();
  }));
  started.get_future().wait();
  for (int i = 0; i < 100; ++i) EXPECT_TRUE(loader.Post([&] { ++ran; }));
  go.set_value();
  loader.Stop();
  EXPECT_EQ(ran, 100);
  EXPECT_FALSE(loader.Post([] {}));
}

TEST(Loader, StopRunsWhatWaitsAndTakesNoMore) {
  std::atomic<int> ran = 0;
  Loader loader(2, 100);
  for (int i = 0; i < 50; ++i) EXPECT_TRUE(loader.Submit([&] { ++ran; }));
  loader.Stop();
  EXPECT_EQ(ran, 50);
  EXPECT_FALSE(loader.Submit([&] { ++ran; }));
  loader.Stop();
  EXPECT_EQ(ran, 50);
}

}  // namespace
}  // namespace hydrad
