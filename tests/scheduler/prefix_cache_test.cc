// Who begins with what earlier requests have computed, and who must not. The rows that the model runs tell.
#include "server/scheduler/prefix_cache.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <prometheus/collectable.h>
#include <prometheus/text_serializer.h>

#include "server/base/check.h"
#include "server/scheduler/fit_to_model.h"
#include "tests/fakes/fake_claim.h"
#include "tests/scheduler/rig.h"

namespace hydrad {
namespace {

using testing::HasSubstr;

// Blocks of 4.
constexpr ModelLimits kRoom{
    .max_rows = 64, .max_logit_rows = 8, .max_context = 96, .block_size = 4, .kv_blocks = 64};

class PrefixCacheTest : public testing::Test {
 protected:
  // A prompt of `tokens` that are all different in their places, and then of those in `rest`.
  static RequestSpec Prompt(int tokens, std::vector<int32_t> rest = {}) {
    RequestSpec spec;
    spec.prompt.clear();
    for (int i = 0; i < tokens; ++i) spec.prompt.push_back((7 * i + i / 5) % token::kEnd);
    spec.prompt.insert(spec.prompt.end(), rest.begin(), rest.end());
    spec.stopping.max_tokens = 1;
    spec.stopping.ignore_eos = true;
    return spec;
  }
  // Runs the request to its end, which must be what it is alone. Returns the rows that it took.
  int Rows(const RequestSpec& spec) {
    const int64_t before = rig_->model.rows_run();
    const auto sink = rig_->Add(++last_, spec);
    rig_->RunToEnd();
    record_ = sink->record();
    EXPECT_TRUE(record_.status.ok()) << record_.status;
    ExpectSameAsAlone(record_, RunAlone(world_, spec));
    return static_cast<int>(rig_->model.rows_run() - before);
  }
  // The same of a request on `stored`.
  int Rows(const RequestSpec& spec, FakeStored& stored, float weight = 1) {
    const int64_t before = rig_->model.rows_run();
    auto sink = std::make_shared<RecordingSink>();
    Request request = world_.Make(++last_, spec, sink);
    request.adapter = stored.Handle();
    request.adapter_weight = weight;
    HYDRAD_CHECK(FitToModel(token::kCount, kRoom, &request).ok());
    rig_->engine.Add(std::move(request), *rig_->room.Take());
    rig_->RunToEnd();
    record_ = sink->record();
    EXPECT_TRUE(record_.status.ok()) << record_.status;
    return static_cast<int>(rig_->model.rows_run() - before);
  }
  int cached() const { return record_.usage.cached_tokens; }

  RigWorld world_;
  std::unique_ptr<EngineRig> rig_ = std::make_unique<EngineRig>(world_, SchedulerOptions(), kRoom);
  RequestId last_ = 0;
  RecordingSink::Record record_;
};

TEST_F(PrefixCacheTest, APromptIsComputedOnce) {
  EXPECT_EQ(Rows(Prompt(18)), 18);
  EXPECT_EQ(cached(), 0);
  EXPECT_EQ(Rows(Prompt(18)), 2) << "four blocks are full";
  EXPECT_EQ(cached(), 16);
  EXPECT_EQ(Rows(Prompt(16)), 4) << "the last token is run in any case, and its block with it";
  EXPECT_EQ(cached(), 12);
  EXPECT_EQ(Rows(Prompt(18, {token::kA, token::kB, token::kC})), 5);
  EXPECT_EQ(Rows(Prompt(9, {token::kA, token::kB, token::kC, token::kA})), 5) << "as far as they are alike";
}

TEST_F(PrefixCacheTest, AConversationGoesOnFromItsAnswer) {
  RequestSpec first = Prompt(6);
  first.stopping.max_tokens = 8;
  EXPECT_EQ(Rows(first), 6 + 7);
  RequestSpec second = first;
  const std::vector<int32_t>& answer = record_.choices.at(0).tokens;
  second.prompt.insert(second.prompt.end(), answer.begin(), answer.end());
  second.prompt.insert(second.prompt.end(), {token::kA, token::kB});
  second.stopping.max_tokens = 1;
  EXPECT_EQ(Rows(second), 16 - 12) << "13 tokens have been computed";
  EXPECT_EQ(cached(), 12);
}

TEST_F(PrefixCacheTest, NobodyElseFindsIt) {
  RequestSpec spec = Prompt(18);
  Rows(spec);
  spec.tenant = 1;
  EXPECT_EQ(Rows(spec), 18) << "another group";
  EXPECT_EQ(cached(), 0);
  EXPECT_EQ(Rows(spec), 2);
  for (int adapter = 1; adapter <= RigWorld::kAdapters; ++adapter) {
    spec.adapter = adapter;
    EXPECT_EQ(Rows(spec), 18) << "another adapter";
    EXPECT_EQ(Rows(spec), 2);
  }
}

TEST_F(PrefixCacheTest, AGenerationFindsItsOwn) {
  FakeStored stored{.name = "a", .generation = 7, .device = std::make_shared<FakeAdapter>(7), .ready = true};
  EXPECT_EQ(Rows(Prompt(18), stored), 18);
  EXPECT_EQ(Rows(Prompt(18), stored), 2);
  stored.generation = 8;
  EXPECT_EQ(Rows(Prompt(18), stored), 18) << "it has been replaced";
  EXPECT_EQ(Rows(Prompt(18), stored), 2);
  FakeStored other = stored;
  other.name = "b";
  EXPECT_EQ(Rows(Prompt(18), other), 18);
  EXPECT_EQ(Rows(Prompt(18), stored), 2);
}

TEST_F(PrefixCacheTest, AWeightIsAnotherAdapter) {
  FakeStored stored{.name = "a", .generation = 7, .device = std::make_shared<FakeAdapter>(7), .ready = true};
  EXPECT_EQ(Rows(Prompt(18), stored, 1), 18);
  EXPECT_EQ(Rows(Prompt(18), stored, 0.5f), 18);
  EXPECT_EQ(Rows(Prompt(18), stored, 0.5f), 2);
}

TEST_F(PrefixCacheTest, AnInvokedAdapterBeginsWithTheBaseModels) {
  RequestSpec spec = Prompt(17);
  for (int32_t& id : spec.prompt) id = id == token::kA ? token::kB : id;
  Rows(spec);
  spec.prompt.insert(spec.prompt.end(), {token::kA, token::kC, token::kC, token::kC, token::kC});
  spec.adapter = RigWorld::kInvoked;
  EXPECT_EQ(Rows(spec), 6) << "what is adapted, and what shares its block";
  EXPECT_EQ(cached(), 16);
  EXPECT_EQ(Rows(spec), 6) << "what it has changed is nobody's";
  spec.adapter = 0;
  EXPECT_EQ(Rows(spec), 6) << "nor the base model's";
  EXPECT_EQ(Rows(spec), 2);
  spec.adapter = RigWorld::kInvoked;
  spec.n = 3;
  EXPECT_EQ(Rows(spec), 22 + 2 * 2) << "its choices share among themselves";
}

TEST_F(PrefixCacheTest, ARoutedPromptFindsBothOfItsPasses) {
  RequestSpec spec = Prompt(18);
  Rows(spec);
  spec.adapter = RigWorld::kLastMoa;
  EXPECT_EQ(Rows(spec), 2 + 18) << "the routing pass is the base model's";
  EXPECT_EQ(cached(), 0);
  EXPECT_EQ(Rows(spec), 2 + 2);
  EXPECT_EQ(cached(), 16);
  spec.adapter = RigWorld::kMeanMoa;
  EXPECT_EQ(Rows(spec), 18 + 18) << "its routers must see every token";
  EXPECT_EQ(Rows(spec), 18 + 2);
  spec = Prompt(18, {token::kA, token::kB, token::kC, token::kC});
  spec.adapter = RigWorld::kMeanMoa;
  Rows(spec);
  spec.adapter = 0;
  EXPECT_EQ(Rows(spec), 2) << "and so the base model finds what it has run";
}

TEST_F(PrefixCacheTest, ExpertsShareNothing) {
  RequestSpec spec = Prompt(18);
  spec.adapter = RigWorld::kLastMoa;
  spec.decision = Decision::kLabel;
  for (spec.expert = 0; spec.expert < RigWorld::kExperts; ++spec.expert) {
    EXPECT_EQ(Rows(spec), 18);
    EXPECT_EQ(Rows(spec), 2);
  }
  spec.decision = Decision::kLayer;
  EXPECT_EQ(Rows(spec), 18);
  EXPECT_EQ(Rows(spec), 18) << "what it would find is not known before it has run";
}

TEST_F(PrefixCacheTest, WhatNeedsEveryRowRunsEveryRow) {
  RequestSpec spec = Prompt(18);
  Rows(spec);
  RequestSpec scored = spec;
  scored.output.prompt_logprobs = 0;
  EXPECT_EQ(Rows(scored), 18);
  EXPECT_EQ(cached(), 0);
  spec.adapter = 1;
  Rows(spec);
  spec.output.routing = true;
  EXPECT_EQ(Rows(spec), 18);
  spec.output.routing = false;
  EXPECT_EQ(Rows(spec), 2);
}

TEST_F(PrefixCacheTest, ChoicesFindItToo) {
  RequestSpec spec = Prompt(18);
  Rows(spec);
  spec.n = 3;
  EXPECT_EQ(Rows(spec), 2 + 2 * 2);
  EXPECT_EQ(cached(), 16) << "counted once";
}

TEST_F(PrefixCacheTest, APreemptedSequenceFindsItsOwnBlocks) {
  ModelLimits limits = kRoom;
  limits.kv_blocks = 12;
  rig_ = std::make_unique<EngineRig>(world_, SchedulerOptions(), limits);
  std::vector<RequestSpec> specs;
  std::vector<std::shared_ptr<RecordingSink>> sinks;
  for (int i = 0; i < 3; ++i) {
    specs.push_back(Prompt(4 + i));
    specs.back().prompt[0] = token::kA + i;
    specs.back().stopping.max_tokens = 24;
    sinks.push_back(rig_->Add(++last_, specs.back()));
  }
  rig_->RunToEnd();
  for (int i = 0; i < 3; ++i) ExpectSameAsAlone(sinks[i]->record(), RunAlone(world_, specs[i]));
  const int64_t shared = rig_->model.rows_run();
  EngineRig without(world_, {.prefix_cache = false}, limits);
  for (int i = 0; i < 3; ++i) without.Add(++last_, specs[i]);
  without.RunToEnd();
  EXPECT_GT(without.model.rows_run(), 4 + 5 + 6 + 3 * 23) << "something is preempted";
  EXPECT_LT(shared, without.model.rows_run());
}

TEST_F(PrefixCacheTest, TheLeastUsedMakesRoom) {
  ModelLimits limits = kRoom;
  limits.kv_blocks = 16;
  rig_ = std::make_unique<EngineRig>(world_, SchedulerOptions(), limits);
  const auto prompt = [](int i) {
    RequestSpec spec = Prompt(18);
    spec.prompt[0] = token::kA + i;
    return spec;
  };
  for (int i = 0; i < 3; ++i) EXPECT_EQ(Rows(prompt(i)), 18);
  EXPECT_EQ(Rows(prompt(0)), 2);
  EXPECT_EQ(Rows(prompt(3)), 18);
  EXPECT_EQ(Rows(prompt(0)), 2) << "asked for last";
  EXPECT_GT(Rows(prompt(1)), 2) << "asked for least";
  const std::string text = prometheus::TextSerializer().Serialize(world_.metrics.collectable()->Collect());
  EXPECT_THAT(text, testing::Not(HasSubstr("hydrad_prefix_cache_evictions_total 0\n")));
}

TEST_F(PrefixCacheTest, TheMetricsCountTokens) {
  Rows(Prompt(18));
  Rows(Prompt(18));
  rig_->engine.Publish(0);
  const std::string text = prometheus::TextSerializer().Serialize(world_.metrics.collectable()->Collect());
  EXPECT_THAT(text, HasSubstr(R"(hydrad_prefix_cache_queries_total{adapter="",tenant="tenant0"} 72)"))
      << "each request has run alone, too";
  EXPECT_THAT(text, HasSubstr(R"(hydrad_prefix_cache_hits_total{adapter="",tenant="tenant0"} 16)"));
  EXPECT_THAT(text, HasSubstr("hydrad_prefix_cache_blocks 4\n"));
}

TEST_F(PrefixCacheTest, ItCanBeOff) {
  rig_ = std::make_unique<EngineRig>(world_, SchedulerOptions{.prefix_cache = false}, kRoom);
  RequestSpec spec = Prompt(18);
  EXPECT_EQ(Rows(spec), 18);
  EXPECT_EQ(Rows(spec), 18);
  spec.n = 3;
  EXPECT_EQ(Rows(spec), 18 + 2 * 2) << "choices share all the same";
}

TEST_F(PrefixCacheTest, ManyGroupsLeaveNoMoreNamesThanTheyHaveBlocks) {
  BlockPool pool(8);
  PrefixIndex index(4, pool);
  PrefixCache cache(index, /*shared=*/true);
  RequestSpec spec = Prompt(18);
  for (int i = 0; i < 5000; ++i) {
    Request request = world_.Make(++last_, spec, nullptr);
    request.cache_group = "group" + std::to_string(i);
    const EndTokens ends(request.stopping, {}, /*formed=*/false);
    Sequence sequence(1, request, ends, 0, *world_.tokenizer);
    sequence.Start();
    EXPECT_EQ(cache.Take(sequence), 0);
    ASSERT_TRUE(sequence.Reserve(18, 4, pool));
    sequence.Advance(18);
    EXPECT_TRUE(cache.Keep(sequence));
    sequence.GiveBlocksBack();
    EXPECT_EQ(cache.Find(sequence).blocks, 4);
    ASSERT_LE(cache.groups(), 1024u);
  }
  EXPECT_TRUE(index.Check().ok());
}

}  // namespace
}  // namespace hydrad
