#include "server/adapters/byte_budget.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <optional>
#include <thread>
#include <vector>

namespace hydrad {
namespace {

TEST(ByteBudget, ReservationsAddUpAndComeBack) {
  ByteBudget budget(100);
  std::optional<Reservation> first = *budget.Reserve(60);
  EXPECT_EQ(first->bytes(), 60);
  EXPECT_EQ(budget.used(), 60);
  const auto refused = budget.Reserve(41);
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(refused.status().message(), "needs 41 bytes on the device, where 40 of 100 are free");
  {
    const Reservation second = *budget.Reserve(40);
    EXPECT_EQ(budget.used(), 100);
    EXPECT_TRUE(budget.Reserve(0).ok());
  }
  EXPECT_EQ(budget.used(), 60);
  first.reset();
  EXPECT_EQ(budget.used(), 0);
}

TEST(ByteBudget, HugeNumbersDoNotWrap) {
  ByteBudget budget(100);
  const Reservation held = *budget.Reserve(1);
  EXPECT_FALSE(budget.Reserve(UINT64_MAX).ok());
  EXPECT_FALSE(budget.Fits(UINT64_MAX).ok());
  EXPECT_EQ(budget.used(), 1);
}

TEST(ByteBudget, FitsReservesNothing) {
  ByteBudget budget(100);
  EXPECT_TRUE(budget.Fits(100).ok());
  EXPECT_FALSE(budget.Fits(101).ok());
  EXPECT_EQ(budget.used(), 0);
}

TEST(ByteBudget, MovingAReservationMovesItsBytes) {
  ByteBudget budget(100);
  Reservation a = *budget.Reserve(10);
  Reservation b = std::move(a);
  EXPECT_EQ(a.bytes(), 0);
  EXPECT_EQ(budget.used(), 10);
  { const Reservation given_back = std::move(b); }
  EXPECT_EQ(budget.used(), 0);
}

TEST(ByteBudget, IsNeverExceededUnderThreads) {
  ByteBudget budget(10);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&budget, t] {
      for (int i = 0; i < 2000; ++i) {
        const auto held = budget.Reserve(1 + (i + t) % 7);
        EXPECT_LE(budget.used(), 10);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(budget.used(), 0);
}

}  // namespace
}  // namespace hydrad
