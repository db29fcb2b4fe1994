#include "server/scheduler/expert_route.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "tests/fakes/fake_model.h"

namespace hydrad {
namespace {

using ::testing::ElementsAre;
using ::testing::ElementsAreArray;
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
  return Mixture(std::move(experts), kLayers, pool, Decision::kVote, FakeDeviceAdapters());
}

// Sums by which the routers pick a, a, c, c: the last by its bias.
constexpr double kSums[] = {5, 1, 5, 1, 1, 5, 5, 4};
constexpr int32_t kPicks[] = {0, 0, 1, 1};

// The probe of these rows; nullopt without one.
std::optional<Batch::Probe> Probe(const ExpertRoute& route, int first, int rows, int row) {
  Batch batch;
  if (!route.AddProbe(first, rows, row, &batch)) return std::nullopt;
  return batch.probes.at(0);
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
  EXPECT_THAT(route.by_layer(), IsEmpty());
  EXPECT_EQ(route.order(), 1);
  EXPECT_FALSE(Probe(route, 0, 10, 0).has_value());
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
    EXPECT_FALSE(Probe(route, 0, 10, 0)->decides);
    route.Saw({.sums = kSums, .picks = {}});
    route.Decide();
    EXPECT_EQ(route.taken().expert, expert);
    EXPECT_THAT(route.taken().votes, ElementsAre("a", "a", "c", "c"));
    EXPECT_EQ(route.shares()[static_cast<size_t>(mixture.Find(expert))], 1) << "of the one in all layers";
    EXPECT_DOUBLE_EQ(*route.vote_entropy(), std::log(2) / std::log(mixture.router().choices()));
    EXPECT_EQ(route.adapter(), mixture.experts()[mixture.Find(expert)]->adapter.get());
    EXPECT_FALSE(Probe(route, 0, 10, 0).has_value()) << "decided once";
  }
}

TEST(ExpertRoute, EachLayerItsOwn) {
  const Mixture mixture = Abc(RouterPool::kMean);
  ExpertRoute route(mixture, Decision::kLayer, 0, 10);
  EXPECT_FALSE(route.on_base());
  const auto probe = Probe(route, 0, 10, 3);
  ASSERT_TRUE(probe.has_value());
  EXPECT_TRUE(probe->decides);
  EXPECT_EQ(probe->router, mixture.router_slot());
  EXPECT_EQ(probe->pooled, 10);
  EXPECT_THAT(route.by_layer(), IsEmpty());
  route.Saw({.sums = kSums, .picks = kPicks});
  route.Decide();
  const int32_t a = mixture.experts()[0]->adapter->slot(), c = mixture.experts()[2]->adapter->slot();
  EXPECT_THAT(route.by_layer(), ElementsAre(a, a, c, c));
  EXPECT_EQ(route.order(), 3);
  EXPECT_EQ(route.taken().expert, "");
  EXPECT_EQ(route.taken().votes.size(), static_cast<size_t>(kLayers));
  const std::vector<double> shares = route.shares();
  EXPECT_DOUBLE_EQ(std::accumulate(shares.begin(), shares.end(), 0.0), 1);
}

TEST(ExpertRoute, TheLastTokenIsSeenWhereverThePromptIsCut) {
  const Mixture mixture = Abc(RouterPool::kLast);
  ExpertRoute route(mixture, Decision::kVote, 0, 10);
  EXPECT_FALSE(Probe(route, 0, 9, 5).has_value());
  const auto probe = Probe(route, 6, 4, 5);
  ASSERT_TRUE(probe.has_value());
  EXPECT_EQ(probe->row_begin, 8);
  EXPECT_EQ(probe->row_end, 9);
  EXPECT_EQ(probe->pooled, 1);
}

TEST(ExpertRoute, AMeanSeesEveryTokenOnceAndForgetsWhatIsRunAgain) {
  const Mixture mixture = Abc(RouterPool::kMean);
  ExpertRoute route(mixture, Decision::kVote, 0, 10);
  Batch batch;
  ASSERT_TRUE(route.AddProbe(0, 6, 2, &batch));
  EXPECT_EQ(batch.probes[0].row_begin, 2);
  EXPECT_EQ(batch.probes[0].row_end, 8);
  EXPECT_EQ(batch.probe_sums, std::vector<double>(8));
  route.Saw({.sums = kSums, .picks = {}});
  ASSERT_TRUE(route.AddProbe(6, 4, 0, &batch));
  EXPECT_EQ(batch.probes[1].row_end, 4);
  EXPECT_EQ(batch.probes[1].sums_begin, 8);
  EXPECT_THAT(std::span(batch.probe_sums).subspan(8), ElementsAreArray(kSums)) << "goes on from there";
  route.Restart();
  ASSERT_TRUE(route.AddProbe(0, 6, 2, &batch));
  EXPECT_EQ(batch.probe_sums[16], 0);
}

}  // namespace
}  // namespace hydrad
