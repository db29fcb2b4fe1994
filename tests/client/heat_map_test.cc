#include "client/hydractl/heat_map.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace hydrad {
namespace {

using testing::ElementsAre;
using testing::FloatEq;

v1::Routing Routing() {
  v1::Routing routing;
  const auto add = [&](int layer, const char* projection, std::vector<float> mean) {
    v1::Routing::Router* router = routing.add_routers();
    router->set_layer(layer);
    router->set_projection(projection);
    router->mutable_mean()->Add(mean.begin(), mean.end());
  };
  add(0, "q_proj", {1, 0});
  add(0, "down_proj", {0.5f, 0.5f});
  add(12, "q_proj", {0.25f, 0.75f});
  add(12, "up_proj", {1, 0, 0});  // of another number of experts: not in the layer's mean
  return routing;
}

TEST(HeatMap, ALayerIsTheMeanOfItsProjections) {
  const auto rows = LayerRows(Routing());
  ASSERT_EQ(rows.size(), 2u);
  EXPECT_EQ(rows[0].label, "0");
  EXPECT_THAT(rows[0].values, ElementsAre(FloatEq(0.75f), FloatEq(0.25f)));
  EXPECT_THAT(rows[1].values, ElementsAre(FloatEq(0.25f), FloatEq(0.75f)));
}

TEST(HeatMap, ShadesFollowTheValues) {
  EXPECT_EQ(DrawHeatMap({{"0", {0, 0.5f}}, {"12", {0.75f, 1}}}),
            "layer       0       1\n"
            "0           0  \u2592\u2592\u2592 50\n"
            "12     \u2593\u2593\u2593 75  \u2588\u2588\u2588100\n");
}

TEST(HeatMap, RoutersHaveARowEach) {
  const auto rows = RouterRows(Routing());
  ASSERT_EQ(rows.size(), 4u);
  EXPECT_EQ(rows[3].label, "12 up_proj");
  EXPECT_EQ(rows[3].values.size(), 3u);
}

TEST(HeatMap, NumbersThatAreNoneAreEmpty) {
  EXPECT_EQ(DrawHeatMap({{"0", {2, -1}}}), "layer       0       1\n0      \u2588\u2588\u2588200     -100\n");
}

}  // namespace
}  // namespace hydrad
