#include "server/base/mutex.h"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

namespace hydrad {
namespace {

TEST(Mutex, ExcludesOthers) {
  Mutex mu;
  int count = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 1000; ++i) {
        MutexLock lock(&mu);
        ++count;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(count, 4000);
}

TEST(Mutex, AwaitSeesAChangeMadeUnderTheLock) {
  Mutex mu;
  int stage = 0;
  std::thread other([&] {
    MutexLock lock(&mu);
    mu.Await([&] { return stage == 1; });
    stage = 2;
  });
  {
    MutexLock lock(&mu);
    stage = 1;
  }
  {
    MutexLock lock(&mu);
    mu.Await([&] { return stage == 2; });
  }
  other.join();
  EXPECT_EQ(stage, 2);
}

// Each thread changes what the other waits for, then waits itself without unlocking in between.
TEST(Mutex, AwaitSeesAChangeMadeBeforeAnotherAwait) {
  Mutex mu;
  int stage = 0;
  std::thread other([&] {
    MutexLock lock(&mu);
    mu.Await([&] { return stage == 1; });
    stage = 2;
    mu.Await([&] { return stage == 3; });
  });
  {
    MutexLock lock(&mu);
    stage = 1;
    mu.Await([&] { return stage == 2; });
    stage = 3;
  }
  other.join();
  EXPECT_EQ(stage, 3);
}

TEST(Mutex, AwaitForGivesUp) {
  Mutex mu;
  MutexLock lock(&mu);
  EXPECT_FALSE(mu.AwaitFor(std::chrono::milliseconds(1), [] { return false; }));
  EXPECT_TRUE(mu.AwaitFor(std::chrono::hours(1), [] { return true; }));
}

}  // namespace
}  // namespace hydrad
