#include "server/scheduler/queue_limit.h"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

namespace hydrad {
namespace {

TEST(QueueLimit, RefusesWhenFullAndTakesSeatsBack) {
  QueueLimit room(2);
  std::optional<QueueLimit::Place> a = room.Take(), b = room.Take();
  ASSERT_TRUE(a && b);
  EXPECT_FALSE(room.Take());
  EXPECT_EQ(room.taken(), 2);
  a.reset();
  EXPECT_EQ(room.taken(), 1);
  EXPECT_TRUE(room.Take());
}

TEST(QueueLimit, ARoomWithoutSeatsRefusesAll) { EXPECT_FALSE(QueueLimit(0).Take()); }

TEST(QueueLimit, AMovedSeatIsGivenBackOnce) {
  QueueLimit room(3);
  {
    QueueLimit::Place a = *room.Take(), b = *room.Take();
    QueueLimit::Place c = std::move(a);
    c = std::move(b);
    EXPECT_EQ(room.taken(), 2);
  }
  EXPECT_EQ(room.taken(), 0);
}

TEST(QueueLimit, NeverHoldsMoreThanItsSeats) {
  QueueLimit room(3);
  std::atomic<int> inside = 0, most = 0;
  const auto visit = [&] {
    for (int i = 0; i < 5000; ++i) {
      const std::optional<QueueLimit::Place> seat = room.Take();
      if (!seat) continue;
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
  EXPECT_EQ(room.taken(), 0);
}

}  // namespace
}  // namespace hydrad
