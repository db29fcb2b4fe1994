#include "server/scheduler/queue_limit.h"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

namespace hydrad {
namespace {

TEST(QueueLimit, RefusesWhenFullAndTakesSeatsBack) {
  QueueLimit limit(2);
  std::optional<QueueLimit::Place> a = limit.Take(), b = limit.Take();
  ASSERT_TRUE(a && b);
  EXPECT_FALSE(limit.Take());
  EXPECT_EQ(limit.taken(), 2);
  a.reset();
  EXPECT_EQ(limit.taken(), 1);
  EXPECT_TRUE(limit.Take());
}

TEST(QueueLimit, ARoomWithoutSeatsRefusesAll) { EXPECT_FALSE(QueueLimit(0).Take()); }

TEST(QueueLimit, AMovedSeatIsGivenBackOnce) {
  QueueLimit limit(3);
  {
    QueueLimit::Place a = *limit.Take(), b = *limit.Take();
    QueueLimit::Place c = std::move(a);
    c = std::move(b);
    EXPECT_EQ(limit.taken(), 2);
  }
  EXPECT_EQ(limit.taken(), 0);
}

TEST(QueueLimit, NeverHoldsMoreThanItsSeats) {
  QueueLimit limit(3);
  std::atomic<int> inside = 0, most = 0;
  const auto visit = [&] {
    for (int i = 0; i < 5000; ++i) {
      const std::optional<QueueLimit::Place> place = limit.Take();
      if (!place) continue;
      const int now = ++inside;
      for (int seen = most; now > seen && !most.compare_exchange_weak(seen, now);) {
      }
      --inside;
    }
  };
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) threads.emplace_back(visit);
  for (std::thread& thread : threads) thread.join();
  EXPECT_LE(most, 3);
  EXPECT_EQ(limit.taken(), 0);
}

}  // namespace
}  // namespace hydrad
