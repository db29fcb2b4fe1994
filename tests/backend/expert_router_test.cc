#include "server/backend/expert_router.h"

#include <gtest/gtest.h>

#include <cmath>

namespace hydrad {
namespace {

Router Of(int layers, std::vector<float> bias) {
  Router router;
  router.layers = layers;
  router.rows.resize(bias.size() / static_cast<size_t>(layers));
  router.bias = std::move(bias);
  return router;
}

TEST(Decision, NamesAreRead) {
  for (const char* name : {"label", "last", "vote", "layer"}) EXPECT_STREQ(Name(*ParseDecision(name)), name);
  EXPECT_FALSE(ParseDecision("").has_value());
  EXPECT_FALSE(ParseDecision("Vote").has_value());
}

TEST(Router, PicksTheLargestMeanPlusBias) {
  struct Case {
    std::vector<float> bias;
    std::vector<double> sums;
    int pooled, layer, want;
  };
  const double nan = std::nan("");
  const Case cases[] = {
      {{0, 0, 0}, {1, 3, 2}, 1, 0, 1},          {{0, 0, 0}, {-3, -1, -1}, 1, 0, 1},  // the first of equals
      {{0, 0, 2.5}, {1, 3, 2}, 1, 0, 2},                                             // the bias counts,
      {{0, 0, 1}, {10, 30, 20}, 10, 0, 1},                                           // the sums by their mean
      {{0, 0, 1.5}, {10, 30, 20}, 10, 0, 2},    {{9, 0, 0, 5}, {1, 2}, 1, 1, 1},     // that of its own layer
      {{0, 0, 0}, {nan, -1e300, nan}, 1, 0, 1},                                      // NaN never wins,
      {{0, 0, 0}, {nan, nan, nan}, 1, 0, 0},                                         // and somebody must
  };
  for (const Case& c : cases) {
    const int choices = static_cast<int>(c.sums.size());
    const Router router = Of(static_cast<int>(c.bias.size()) / choices, c.bias);
    EXPECT_EQ(router.Pick(c.layer, c.sums.data(), c.pooled), c.want) << &c - cases;
  }
}

}  // namespace
}  // namespace hydrad
