// Requests that use several adapters, or a routed one in their own way.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <prometheus/collectable.h>
#include <prometheus/text_serializer.h>

#include <numeric>

#include "tests/fakes/fake_claim.h"
#include "tests/scheduler/rig.h"

namespace hydrad {
namespace {

using testing::HasSubstr;
using testing::Not;

class CompositionTest : public testing::Test {
 protected:
  static std::shared_ptr<AdapterGeneration> Adapter(const std::string& name, uint64_t salt, int experts = 0) {
    auto made = std::make_shared<AdapterGeneration>();
    made->name = name;
    made->generation = salt;
    made->device = std::make_unique<FakeAdapter>(salt, nullptr, experts);
    made->traits.routed = experts > 0;
    made->traits.experts = std::max(1, experts);
    made->traits.dense = experts > 0;
    return made;
  }
  // Uses the adapters, the i-th with weights[i].
  Request Composed(std::vector<std::shared_ptr<AdapterGeneration>> adapters, std::vector<float> weights) {
    RequestSpec spec;
    spec.stopping.max_tokens = 6;
    Request request = world_.Make(++last_id_, spec, nullptr);
    for (size_t i = 0; i < adapters.size(); ++i) {
      if (i == 0) {
        request.adapter = HandleOn(adapters[0]);
        request.adapter_weight = weights[0];
      } else {
        request.composed.push_back({HandleOn(adapters[i]), weights[i]});
      }
    }
    return request;
  }
  std::shared_ptr<RecordingSink> Add(EngineRig& rig, Request request) {
    auto sink = std::make_shared<RecordingSink>();
    request.sink = sink;
    rig.engine.Add(std::move(request), *rig.room.Take());
    return sink;
  }
  RecordingSink::Record RunAlone(Request request) {
    EngineRig rig(world_, {}, kRoomy);
    const auto sink = Add(rig, std::move(request));
    rig.RunToEnd();
    return sink->record();
  }
  std::string Text() const {
    return prometheus::TextSerializer().Serialize(world_.metrics.collectable()->Collect());
  }

  RigWorld world_;
  RequestId last_id_ = 0;
};

TEST_F(CompositionTest, TogetherIsAsAlone) {
  const auto a = Adapter("a", 1), b = Adapter("b", 2), c = Adapter("c", 3, 4);
  const std::vector<std::pair<std::vector<std::shared_ptr<AdapterGeneration>>, std::vector<float>>> uses = {
      {{a}, {1}}, {{a, b}, {0.5f, 2}}, {{b, a}, {2, 0.5f}}, {{a, b, c}, {1, 1, 1}}, {{a}, {0.5f}},
      {{}, {}},   {{c, b}, {1, -1}}};
  EngineRig rig(world_, {}, kRoomy);
  std::vector<std::shared_ptr<RecordingSink>> sinks;
  for (int round = 0; round < 3; ++round) {
    for (const auto& [adapters, weights] : uses) sinks.push_back(Add(rig, Composed(adapters, weights)));
  }
  rig.RunToEnd();
  std::vector<std::vector<int32_t>> answers;
  for (size_t i = 0; i < sinks.size(); ++i) {
    const auto& [adapters, weights] = uses[i % uses.size()];
    const auto alone = RunAlone(Composed(adapters, weights));
    ExpectSameAsAlone(sinks[i]->record(), alone);
    EXPECT_EQ(std::ranges::count(answers, alone.choices.at(0).tokens),
              i < uses.size() ? 0 : 1 + (i / uses.size() - 1));
    answers.push_back(alone.choices.at(0).tokens);
  }
}

TEST_F(CompositionTest, EveryAdapterIsHeldToTheEnd) {
  const auto a = Adapter("a", 1), b = Adapter("b", 2);
  EngineRig rig(world_, {}, kRoomy);
  Add(rig, Composed({a, b}, {1, 1}));
  rig.engine.Step();
  EXPECT_GT(a.use_count(), 1);
  EXPECT_GT(b.use_count(), 1);
  rig.engine.Publish(0);
  EXPECT_THAT(Text(), HasSubstr("running_lora_adapters=\"a,b\""));
  rig.RunToEnd();
  EXPECT_EQ(a.use_count(), 1);
  EXPECT_EQ(b.use_count(), 1);
}

TEST_F(CompositionTest, WhatIsNotLinearIsRefused) {
  const auto a = Adapter("a", 1), dora = Adapter("dora", 2);
  dora->traits.linear = false;
  EXPECT_EQ(RunAlone(Composed({dora}, {1})).status.code(), absl::StatusCode::kOk);
  for (const bool with_another : {false, true}) {
    Request request = with_another ? Composed({a, dora}, {1, 1}) : Composed({dora}, {0.5f});
    const absl::Status status = RunAlone(std::move(request)).status;
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), HasSubstr("adapter 'dora' scales"));
  }
}

TEST_F(CompositionTest, TopKMustSuitTheAdapter) {
  const auto plain = Adapter("plain", 1), routed = Adapter("routed", 2, 4),
             threshold = Adapter("threshold", 3, 4);
  threshold->traits.top_k = false;
  const auto with = [&](const std::shared_ptr<AdapterGeneration>& adapter, int k) {
    Request request = Composed({adapter}, {1});
    request.adapter_top_k = k;
    EXPECT_TRUE(request.BindAdapters());
    EXPECT_EQ(Approximates(request), adapter == routed && k < 4);
    return std::string(RunAlone(std::move(request)).status.message());
  };
  EXPECT_EQ(with(routed, 2), "");
  EXPECT_EQ(with(routed, 4), "");
  EXPECT_THAT(with(routed, 5), HasSubstr("'routed' has 4 experts"));
  EXPECT_THAT(with(plain, 1), HasSubstr("'plain' has no router"));
  EXPECT_THAT(with(threshold, 4), HasSubstr("'threshold' picks its experts by a threshold"));
}

// An engine with nothing but a request that it refuses goes on to the next.
TEST_F(CompositionTest, ARefusedRequestHoldsNothingUp) {
  Request bad = Composed({Adapter("plain", 1)}, {1});
  bad.adapter_top_k = 1;
  EngineRig rig(world_, {}, kRoomy);
  const auto refused = Add(rig, std::move(bad)), good = Add(rig, Composed({}, {}));
  rig.RunToEnd();
  EXPECT_FALSE(refused->record().status.ok());
  EXPECT_TRUE(good->record().status.ok());
}

TEST_F(CompositionTest, TellsHowTheRoutersWeighed) {
  const auto routed = Adapter("routed", 2, 4), plain = Adapter("plain", 1);
  Request request = Composed({plain, routed}, {1, 1});
  request.output.routing = true;
  request.n = 2;
  const auto record = RunAlone(std::move(request));
  ASSERT_TRUE(record.status.ok()) << record.status;
  ASSERT_EQ(record.usage.routing.size(), 1u);
  const AdapterRouting& routing = record.usage.routing[0];
  EXPECT_EQ(routing.adapter, "routed");
  ASSERT_EQ(routing.top.size(), 2u);
  int drawn = 0;
  for (int c = 0; c < 2; ++c) {
    EXPECT_EQ(routing.top[c].size(), record.choices.at(c).tokens.size());
    drawn += static_cast<int>(routing.top[c].size());
  }
  EXPECT_GE(routing.rows, 3 + drawn - 2);  // every token that was an input
  ASSERT_EQ(routing.routers.size(), 1u);
  EXPECT_NEAR(std::accumulate(routing.routers[0].mean.begin(), routing.routers[0].mean.end(), 0.f), 1, 1e-5);
}

TEST_F(CompositionTest, CountsWhatTheRoutersDid) {
  const auto routed = Adapter("routed", 2, 4);
  EXPECT_TRUE(RunAlone(Composed({routed}, {1})).usage.routing.empty());
  EXPECT_THAT(Text(), HasSubstr("hydrad_expert_tokens_total{adapter=\"routed\",expert=\"3\"}"));
  EXPECT_THAT(Text(), HasSubstr("hydrad_router_entropy_count{adapter=\"routed\"} 1"));
  RunAlone(Composed({Adapter("plain", 1)}, {1}));
  EXPECT_THAT(Text(), Not(HasSubstr("hydrad_expert_tokens_total{adapter=\"plain\"")));
}

}  // namespace
}  // namespace hydrad
