#include "server/scheduler/router_tally.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

namespace hydrad {
namespace {

using testing::DoubleNear;
using testing::ElementsAre;
using testing::FloatEq;
using testing::IsEmpty;

constexpr GatePlace kPlaces[] = {{0, Projection::kQ, 0, 2}, {3, Projection::kDown, 2, 3}};

TEST(RouterTally, MeansAreOverAllRows) {
  RouterTally tally(kPlaces, true);
  tally.Add(std::vector<float>{1, 0, 0, 0, 1}, -1);
  tally.Add(std::vector<float>{0.5f, 0.5f, 0.5f, 0.25f, 0.25f}, 1);
  const AdapterRouting routing = tally.Routing("a");
  EXPECT_EQ(routing.adapter, "a");
  EXPECT_EQ(routing.rows, 2);
  ASSERT_EQ(routing.routers.size(), 2u);
  EXPECT_THAT(routing.routers[0].mean, ElementsAre(0.75f, 0.25f));
  EXPECT_EQ(routing.routers[1].layer, 3);
  EXPECT_EQ(routing.routers[1].projection, Projection::kDown);
  EXPECT_THAT(routing.routers[1].mean, ElementsAre(0.25f, 0.125f, 0.625f));
  EXPECT_THAT(routing.top, ElementsAre(IsEmpty(), ElementsAre(0)));
}

TEST(RouterTally, EachDrawnTokenCountsOne) {
  RouterTally tally(kPlaces, false);
  tally.Add(std::vector<float>{1, 0, 1, 0, 0}, -1);  // not drawn from
  tally.Add(std::vector<float>{0, 1, 0, 1, 0}, 0);
  tally.Add(std::vector<float>{0.25f, 0.25f, 0.25f, 0.25f, 0}, 0);  // not renormalised: shares count
  EXPECT_EQ(tally.drawn(), 2);
  EXPECT_THAT(tally.expert_tokens(), ElementsAre(DoubleNear(0.5, 1e-6), DoubleNear(1.5, 1e-6), 0));
}

TEST(RouterTally, EntropyIsOneWhereAllAreAlike) {
  RouterTally even(kPlaces, false), sharp(kPlaces, false), mixed(kPlaces, false);
  even.Add(std::vector<float>{0.5f, 0.5f, 0.2f, 0.2f, 0.2f}, 0);
  sharp.Add(std::vector<float>{1, 0, 0, 0, 1}, 0);
  mixed.Add(std::vector<float>{0.5f, 0.5f, 0, 0.5f, 0.5f}, 0);
  EXPECT_NEAR(even.entropy(), 1, 1e-6);
  EXPECT_EQ(sharp.entropy(), 0);
  EXPECT_NEAR(mixed.entropy(), (1 + std::log(2) / std::log(3)) / 2, 1e-6);
}

// A threshold that nobody reached, and numbers that are none.
TEST(RouterTally, RowsWithoutWeightsCountNothing) {
  RouterTally tally(kPlaces, true);
  tally.Add(std::vector<float>(5, 0), 0);
  tally.Add(std::vector<float>(5, NAN), 0);
  EXPECT_THAT(tally.expert_tokens(), ElementsAre(0, 0, 0));
  EXPECT_EQ(tally.entropy(), 0);
  EXPECT_EQ(tally.Routing("a").top[0].size(), 2u);
}

TEST(RouterTally, NoRoutersNothing) {
  const RouterTally tally({}, true);
  EXPECT_THAT(tally.expert_tokens(), IsEmpty());
  EXPECT_THAT(tally.Routing("a").routers, IsEmpty());
}

}  // namespace
}  // namespace hydrad
