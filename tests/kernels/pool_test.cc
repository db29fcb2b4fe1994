#include "kernels/simd/pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

namespace hydrad::simd {
namespace {

class PoolTest : public testing::TestWithParam<int> {};

// Plain ints on purpose: that the caller sees them is the pool's promise, which TSan checks.
TEST_P(PoolTest, EveryTaskRunsOnceAndIsSeenByTheCaller) {
  Pool pool(GetParam());
  for (int tasks : {0, 1, 2, 3, 7, 64, 1000}) {
    std::vector<int> runs(tasks, 0);
    pool.Run(tasks, [&](int i) { ++runs[i]; });
    EXPECT_EQ(runs, std::vector<int>(tasks, 1));
  }
}

TEST_P(PoolTest, ManyShortCallsInARowDoNotMix) {
  Pool pool(GetParam());
  std::vector<int> cells(5, 0);
  for (int call = 0; call < 3000; ++call) {
    pool.Run(2 + call % 4, [&](int i) { cells[i] += call; });
  }
  int sum = 0, want = 0;
  for (int c : cells) sum += c;
  for (int call = 0; call < 3000; ++call) want += call * (2 + call % 4);
  EXPECT_EQ(sum, want);
}

// The workers pass from spinning to sleep between these calls, whatever the machine's speed: a call that
// finds them asleep, awake or on the way must not be lost.
TEST_P(PoolTest, CallsAfterIdlingAreDone) {
  Pool pool(GetParam());
  std::atomic<int> done{0};
  for (int round = 0; round < 20; ++round) {
    const auto until = std::chrono::steady_clock::now() + std::chrono::microseconds(20 * round);
    while (std::chrono::steady_clock::now() < until) std::this_thread::yield();
    pool.Run(8, [&](int) { ++done; });
  }
  EXPECT_EQ(done, 160);
}

INSTANTIATE_TEST_SUITE_P(Threads, PoolTest, testing::Values(1, 2, 3, 8));

TEST(PoolTest, ZeroThreadsMeansOnePerCore) {
  Pool pool(0);
  EXPECT_GE(pool.threads(), 1);
  EXPECT_EQ(Pool(5).threads(), 5);
}

TEST(PoolTest, PoolsWorkSideBySide) {
  std::vector<std::thread> callers;
  std::atomic<int> done{0};
  for (int c = 0; c < 3; ++c) {
    callers.emplace_back([&] {
      Pool pool(3);
      for (int i = 0; i < 100; ++i) pool.Run(5, [&](int) { ++done; });
    });
  }
  for (std::thread& t : callers) t.join();
  EXPECT_EQ(done, 1500);
}

}  // namespace
}  // namespace hydrad::simd
