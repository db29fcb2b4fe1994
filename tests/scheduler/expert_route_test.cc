#include "server/scheduler/expert_route.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "tests/fakes/fake_model.h"

namespace hydrad {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr int kLayers = 4;

class NoRows final : public Buffer {
 public:
  void* data() const override { return nullptr; }
  size_t bytes() const override { return 0; }
};

// Experts "a", "b" and "c"; b has no row in the routers.
Mixture Abc(RouterPool pool) {
  std::vector<Mixture::Expert> experts;
  for (const char* name : {"a", "b", "c"}) {
    auto expert = std::make_shared<DeviceExpert>();
    expert->name = name;
    expert->adapter = std::make_unique<FakeAdapter>(1);
    if (expert->name != "b") expert->router = std::make_unique<NoRows>();
    if (expert->name == "c") expert->router_bias = {0, 0, 0, 2};
    experts.push_back(std::move(expert));
  }
  return Mixture(std::move(experts), kLayers, pool, Decision::kVote);
}

// Sums by which the routers pick a, a, c, c: the last by its bias.
void Fill(double* sums) {
  const double values[] = {5, 1, 5, 1, 1, 5, 5, 4};
  std::copy(std::begin(values), std::end(values), sums);
}

TEST(Majority, TheLowestOfEqualsWins) {
  EXPECT_EQ(Majority({0, 1, 1, 2}, 3), 1);
  EXPECT_EQ(Majority({2, 2, 1, 1}, 3), 1);
  EXPECT_EQ(Majority({2}, 3), 2);
}

TEST(ExpertRoute, ALabelIsDecidedFromTheStart) {
  const Mixture mixture = Abc(RouterPool::kLast);
  ExpertRoute route(mixture, Decision::kLabel, 1, 10);
  EXPECT_TRUE(route.decided());
  EXPECT_EQ(route.adapter(), mixture.experts()[1]->adapter.get());
  EXPECT_EQ(route.by_layer(), nullptr);
  EXPECT_EQ(route.order(), 1);
  EXPECT_FALSE(route.Probe(0, 10, 0).has_value());
  EXPECT_EQ(route.taken().expert, "b");
  EXPECT_THAT(route.taken().votes, IsEmpty());
  EXPECT_THAT(route.shares(), ElementsAre(0, 1, 0));
  EXPECT_EQ(route.vote_entropy(), std::nullopt);
}

TEST(ExpertRoute, VotesAndTheLastRouter) {
  const Mixture mixture = Abc(RouterPool::kLast);
  for (const auto& [decision, expert] : {std::pair(Decision::kVote, "a"), std::pair(Decision::kLast, "c")}) {
    ExpertRoute route(mixture, decision, 0, 10);
    EXPECT_TRUE(route.on_base() && !route.decided());
    EXPECT_EQ(route.adapter(), nullptr);
    Fill(route.Probe(0, 10, 0)->sums);
    route.Decide();
    EXPECT_EQ(route.taken().expert, expert);
    EXPECT_THAT(route.taken().votes, ElementsAre("a", "a", "c", "c"));
    EXPECT_EQ(route.shares()[static_cast<size_t>(mixture.Find(expert))], 1) << "of the one in all layers";
    EXPECT_DOUBLE_EQ(*route.vote_entropy(), std::log(2) / std::log(mixture.router().choices()));
    EXPECT_EQ(route.adapter(), mixture.experts()[mixture.Find(expert)]->adapter.get());
    EXPECT_FALSE(route.Probe(0, 10, 0).has_value()) << "decided once";
  }
}

TEST(ExpertRoute, EachLayerItsOwn) {
  const Mixture mixture = Abc(RouterPool::kMean);
  ExpertRoute route(mixture, Decision::kLayer, 0, 10);
  EXPECT_FALSE(route.on_base());
  const auto probe = route.Probe(0, 10, 3);
  ASSERT_TRUE(probe.has_value());
  EXPECT_EQ(probe->by_layer, route.by_layer());
  EXPECT_EQ(probe->pooled, 10);
  route.Decide();
  EXPECT_EQ(route.order(), 3);
  EXPECT_EQ(route.taken().expert, "");
  EXPECT_EQ(route.taken().votes.size(), static_cast<size_t>(kLayers));
  const std::vector<double> shares = route.shares();
  EXPECT_DOUBLE_EQ(std::accumulate(shares.begin(), shares.end(), 0.0), 1);
}

TEST(ExpertRoute, TheLastTokenIsSeenWhereverThePromptIsCut) {
  const Mixture mixture = Abc(RouterPool::kLast);
  ExpertRoute route(mixture, Decision::kVote, 0, 10);
  EXPECT_FALSE(route.Probe(0, 9, 5).has_value());
  const auto probe = route.Probe(6, 4, 5);
  ASSERT_TRUE(probe.has_value());
  EXPECT_EQ(probe->row_begin, 8);
  EXPECT_EQ(probe->row_end, 9);
  EXPECT_EQ(probe->pooled, 1);
}

TEST(ExpertRoute, AMeanSeesEveryTokenOnceAndForgetsWhatIsRunAgain) {
  const Mixture mixture = Abc(RouterPool::kMean);
  ExpertRoute route(mixture, Decision::kVote, 0, 10);
  const auto first = route.Probe(0, 6, 2), second = route.Probe(6, 4, 0);
  EXPECT_EQ(first->row_begin, 2);
  EXPECT_EQ(first->row_end, 8);
  EXPECT_EQ(second->row_end, 4);
  EXPECT_EQ(first->sums, second->sums);
  first->sums[0] = 100;
  route.Restart();
  EXPECT_EQ(route.Probe(0, 6, 2)->sums[0], 0);
}

}  // namespace
}  // namespace hydrad
