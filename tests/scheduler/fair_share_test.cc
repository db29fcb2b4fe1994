#include "server/scheduler/fair_share.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

namespace hydrad {
namespace {

double Service(const FairShare& fair, TenantId tenant) { return fair.tenants()[tenant].service; }

TEST(FairShare, AnOutputTokenCostsTwoInputTokens) {
  FairShare fair;
  const TenantId a = fair.Enter("a", 1);
  fair.Charge(a, 10, 0);
  EXPECT_EQ(Service(fair, a), 10);
  fair.Charge(a, 0, 10);
  EXPECT_EQ(Service(fair, a), 30);
}

TEST(FairShare, AWeightDividesTheCost) {
  FairShare fair;
  const TenantId a = fair.Enter("a", 4);
  fair.Charge(a, 10, 1);
  EXPECT_EQ(Service(fair, a), 3);
}

TEST(FairShare, AWeightThatIsNotPositiveCountsAsOne) {
  FairShare fair;
  const TenantId a = fair.Enter("a", 0), b = fair.Enter("b", -3);
  EXPECT_EQ(fair.tenants()[a].weight, 1);
  EXPECT_EQ(fair.tenants()[b].weight, 1);
}

TEST(FairShare, ATenantKeepsItsIdentityAndTakesItsNewWeight) {
  FairShare fair;
  const TenantId a = fair.Enter("a", 1);
  EXPECT_NE(fair.Enter("b", 1), a);
  fair.Charge(a, 7, 0);
  fair.Leave(a);
  EXPECT_EQ(fair.Enter("a", 2), a);
  EXPECT_EQ(fair.tenants()[a].weight, 2);
  EXPECT_EQ(fair.tenants().size(), 2u);
}

TEST(FairShare, ANewcomerIsLiftedToTheLeastActive) {
  FairShare fair;
  const TenantId a = fair.Enter("a", 1), b = fair.Enter("b", 1);
  fair.Charge(a, 100, 0);
  fair.Charge(b, 60, 0);
  EXPECT_EQ(Service(fair, fair.Enter("c", 1)), 60);
}

TEST(FairShare, IdlingSavesNothingUp) {
  FairShare fair;
  const TenantId a = fair.Enter("a", 1), b = fair.Enter("b", 1);
  fair.Leave(b);
  fair.Charge(a, 500, 0);
  EXPECT_EQ(fair.Enter("b", 1), b);
  EXPECT_EQ(Service(fair, b), 500);
}

TEST(FairShare, LeavingDoesNotWashOffADebt) {
  FairShare fair;
  const TenantId a = fair.Enter("a", 1);
  fair.Enter("b", 1);
  fair.Charge(a, 500, 0);
  fair.Leave(a);
  fair.Enter("a", 1);
  EXPECT_EQ(Service(fair, a), 500);
}

TEST(FairShare, AfterAQuietTimeTheLastToLeaveIsTheMark) {
  FairShare fair;
  const TenantId a = fair.Enter("a", 1);
  fair.Charge(a, 300, 0);
  fair.Leave(a);
  EXPECT_EQ(Service(fair, fair.Enter("b", 1)), 300);
}

TEST(FairShare, ASecondRequestOfAnActiveTenantLiftsNothing) {
  FairShare fair;
  const TenantId a = fair.Enter("a", 1), b = fair.Enter("b", 1);
  fair.Charge(a, 100, 0);
  fair.Enter("b", 1);
  EXPECT_EQ(Service(fair, b), 0);
}

// The bound of the paper in its simplest form: while both have work, always serving the least served keeps
// any two tenants within the largest single cost over the smaller weight.
TEST(FairShare, ServingTheLeastServedKeepsBackloggedTenantsTogether) {
  std::mt19937_64 rng(7);
  FairShare fair;
  const TenantId ids[] = {fair.Enter("a", 1), fair.Enter("b", 3), fair.Enter("c", 0.5)};
  constexpr double kLargest = 256 + 2 * 64, kLeastWeight = 0.5;
  for (int turn = 0; turn < 20000; ++turn) {
    TenantId least = ids[0];
    for (const TenantId id : ids) {
      if (Service(fair, id) < Service(fair, least)) least = id;
    }
    fair.Charge(least, static_cast<int>(rng() % 257), static_cast<int>(rng() % 65));
    for (const TenantId id : ids) {
      for (const TenantId other : ids) {
        ASSERT_LE(std::abs(Service(fair, id) - Service(fair, other)), kLargest / kLeastWeight);
      }
    }
  }
}

}  // namespace
}  // namespace hydrad
