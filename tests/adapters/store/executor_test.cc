#include "server/adapters/store/executor.h"

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

// How a thread of an executor goes about a digest of 16 MB.
Manner MannerOfWork(bool in_background) {
  const std::string text(16 << 20, 'x');
  Manner manner;
  ThreadExecutor executor(1, 1, in_background);
  EXPECT_TRUE(executor.Submit([&] {
    rusage before, after;
    getrusage(RUSAGE_THREAD, &before);
    Sha256::Of(text);
    getrusage(RUSAGE_THREAD, &after);
    manner = {sched_getscheduler(0), after.ru_nvcsw - before.ru_nvcsw};
  }));
  executor.Stop();
  return manner;
}

TEST(ThreadExecutor, ThreadsThatStandBackRestAtWork) {
  const Manner back = MannerOfWork(/*in_background=*/true);
  EXPECT_EQ(back.policy, SCHED_IDLE);
  EXPECT_GE(back.rests, 1);
  const Manner ahead = MannerOfWork(/*in_background=*/false);
  EXPECT_EQ(ahead.policy, SCHED_OTHER);
  EXPECT_EQ(ahead.rests, 0);
}

TEST(ThreadExecutor, RunsJobsInOrderOnOneThread) {
  std::vector<int> order;
  {
    ThreadExecutor executor(1, 100);
    for (int i = 0; i < 10; ++i) EXPECT_TRUE(executor.Submit([&order, i] { order.push_back(i); }));
  }
  EXPECT_EQ(order, (std::vector<int>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}));
}

TEST(ThreadExecutor, RunsAsManyAtOnceAsItHasThreads) {
  std::barrier together(3);  // passed only when three jobs stand at it
  ThreadExecutor executor(3, 100);
  for (int i = 0; i < 3; ++i) {
    EXPECT_TRUE(executor.Submit([&] { together.arrive_and_wait(); }));
  }
  executor.Stop();
}

TEST(ThreadExecutor, RefusesBeyondItsQueue) {
  std::promise<void> started, go;  // outlive the executor's threads
  ThreadExecutor executor(1, 2);
  ASSERT_TRUE(executor.Submit([&] {
    started.set_value();
    go.get_future().wait();
  }));
  started.get_future().wait();  // the running job is in no queue
  EXPECT_TRUE(executor.Submit([] {}));
  EXPECT_TRUE(executor.Submit([] {}));
  EXPECT_FALSE(executor.Submit([] {}));
  go.set_value();
}

TEST(ThreadExecutor, PostedJobsAreNeverTooMany) {
  std::promise<void> started, go;
  std::atomic<int> ran = 0;
  ThreadExecutor executor(1, 0, /*in_background=*/true);
  EXPECT_FALSE(executor.Submit([] {}));
  ASSERT_TRUE(executor.Post([&] {
    started.set_value();
    go.get_future().wait();
  }));
  started.get_future().wait();
  for (int i = 0; i < 100; ++i) EXPECT_TRUE(executor.Post([&] { ++ran; }));
  go.set_value();
  executor.Stop();
  EXPECT_EQ(ran, 100);
  EXPECT_FALSE(executor.Post([] {}));
}

TEST(ThreadExecutor, StopRunsWhatWaitsAndTakesNoMore) {
  std::atomic<int> ran = 0;
  ThreadExecutor executor(2, 100);
  for (int i = 0; i < 50; ++i) EXPECT_TRUE(executor.Submit([&] { ++ran; }));
  executor.Stop();
  EXPECT_EQ(ran, 50);
  EXPECT_FALSE(executor.Submit([&] { ++ran; }));
  executor.Stop();
  EXPECT_EQ(ran, 50);
}

}  // namespace
}  // namespace hydrad
