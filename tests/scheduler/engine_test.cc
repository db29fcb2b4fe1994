#include "server/scheduler/engine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <prometheus/collectable.h>
#include <prometheus/text_serializer.h>

#include <algorithm>
#include <cmath>

#include "server/base/check.h"
#include "server/base/status.h"
#include "tests/fakes/fake_form.h"
#include "tests/scheduler/rig.h"

namespace hydrad {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::HasSubstr;

constexpr ModelLimits kSmall{
    .max_rows = 16, .max_logit_rows = 4, .max_context = 64, .block_size = 4, .kv_blocks = 64};

RequestSpec Long(int prompt, int max_tokens, int tenant = 0) {
  RequestSpec spec;
  spec.prompt.assign(prompt, token::kA);
  spec.stopping.max_tokens = max_tokens;
  spec.stopping.ignore_eos = true;
  spec.tenant = tenant;
  return spec;
}

std::string Text(const Metrics& metrics) {
  return prometheus::TextSerializer().Serialize(metrics.collectable()->Collect());
}

class EngineTest : public testing::Test {
 protected:
  void ExpectAllBack(const EngineRig& rig) {
    EXPECT_TRUE(rig.engine.empty());
    EXPECT_EQ(rig.engine.running(), 0);
    EXPECT_EQ(rig.engine.free_blocks(), rig.model.limits().kv_blocks);
    EXPECT_EQ(rig.room.taken(), 0);
    EXPECT_TRUE(world_.AllBack());
  }

  RigWorld world_;
};

TEST_F(EngineTest, WithoutRequestsThereIsNothingToDo) {
  EngineRig rig(world_, {}, kSmall);
  EXPECT_FALSE(rig.engine.Step());
  EXPECT_EQ(rig.model.steps(), 0);
}

TEST_F(EngineTest, OneRequestToItsEnd) {
  EngineRig rig(world_, {}, kSmall);
  const auto sink = rig.Add(1, Long(5, 3));
  rig.RunToEnd();
  const RecordingSink::Record record = sink->record();
  EXPECT_TRUE(record.status.ok());
  EXPECT_EQ(record.starts, 1);
  EXPECT_EQ(record.choices.at(0).tokens.size(), 3u);
  EXPECT_EQ(record.choices.at(0).reason, FinishReason::kLength);
  EXPECT_EQ(record.choices.at(0).text, world_.tokenizer->Decode(record.choices.at(0).tokens, true));
  EXPECT_EQ(record.usage.prompt_tokens, 5);
  EXPECT_EQ(record.usage.generated_tokens, 3);
  EXPECT_EQ(rig.model.steps(), 3) << "the last token is not run";
  EXPECT_EQ(rig.model.rows_run(), 7);
  ExpectAllBack(rig);
}

TEST_F(EngineTest, DecodingGoesOnWhileALongPromptIsPrefilled) {
  EngineRig rig(world_, {.prefill_chunk = 4}, kSmall);
  const auto first = rig.Add(1, Long(2, 20));
  rig.engine.Step();
  rig.Add(2, Long(40, 1));
  for (size_t tokens = 2; tokens < 10; ++tokens) {
    rig.engine.Step();
    EXPECT_EQ(first->record().usage.generated_tokens, 0);
    EXPECT_EQ(rig.model.rows_run(), 2 + 5 * (static_cast<int64_t>(tokens) - 1));
  }
}

TEST_F(EngineTest, OneStepHoldsRowsOfAllAdapters) {
  EngineRig rig(world_, {}, kSmall);
  size_t runs = 0;
  rig.model.on_forward = [&](const Batch& batch) { runs = std::max(runs, batch.runs.size()); };
  for (int adapter = 0; adapter <= RigWorld::kAdapters; ++adapter) {
    RequestSpec spec = Long(3, 3);
    spec.adapter = adapter;
    rig.Add(adapter + 1, spec);
  }
  rig.RunToEnd();
  EXPECT_EQ(runs, 3u);
  EXPECT_EQ(rig.model.steps(), 3);
}

TEST_F(EngineTest, ACancelledRequestIsGoneAtOnceWhereverItIs) {
  EngineRig rig(world_, {.max_running = 1}, kSmall);
  const auto running = rig.Add(1, Long(5, 30)), waiting = rig.Add(2, Long(5, 30));
  rig.engine.Step();
  rig.engine.End(2, Cancelled("gone"));
  EXPECT_EQ(waiting->record().status.code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(waiting->record().starts, 0);
  rig.engine.End(1, Cancelled("gone"));
  EXPECT_EQ(running->record().starts, 1);
  EXPECT_TRUE(running->done());
  rig.engine.End(1, Cancelled("again"));
  rig.engine.End(77, Cancelled("unknown"));
  ExpectAllBack(rig);
}

TEST_F(EngineTest, DeadlinesEndWaitingAndRunningRequests) {
  EngineRig rig(world_, {.max_running = 1}, kSmall);
  const TimePoint now = world_.clock.Now();
  const auto running = rig.Add(1, Long(5, 30), -1, now + seconds(2));
  const auto waiting = rig.Add(2, Long(5, 30), -1, now + seconds(1));
  rig.engine.Step();
  world_.clock.Advance(seconds(1));
  rig.engine.Expire();
  EXPECT_EQ(waiting->record().status.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_THAT(std::string(waiting->record().status.message()), HasSubstr("before the request started"));
  EXPECT_FALSE(running->done());
  world_.clock.Advance(seconds(1));
  rig.engine.Expire();
  EXPECT_EQ(running->record().status.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(rig.model.rows_run(), 5) << "expired work is not prefilled";
  ExpectAllBack(rig);
}

TEST_F(EngineTest, AStalledReaderCostsItsOwnRequest) {
  EngineRig rig(world_, {}, kSmall);
  const auto stalled = rig.Add(1, Long(5, 30), /*stall_after=*/2), other = rig.Add(2, Long(5, 5));
  rig.RunToEnd();
  EXPECT_EQ(stalled->record().status.code(), absl::StatusCode::kCancelled);
  EXPECT_TRUE(other->record().status.ok());
  ExpectAllBack(rig);
}

TEST_F(EngineTest, LogitsThatAreNotNumbersEndTheirRequestAlone) {
  EngineRig rig(world_, {}, kSmall);
  RequestSpec poisoned = Long(5, 5);
  poisoned.prompt[2] = token::kPoison;
  poisoned.n = 3;
  const auto bad = rig.Add(1, poisoned);
  const RequestSpec healthy = Long(5, 5);
  const auto good = rig.Add(2, healthy);
  rig.RunToEnd();
  EXPECT_EQ(bad->record().status.code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(bad->record().starts, 0);
  ExpectSameAsAlone(good->record(), RunAlone(world_, healthy));
  ExpectAllBack(rig);
}

// Not after the rest of the prompt has run: what is told of the prompt would be no number.
// Of a step of prompts, of a mixed one, and of one that decodes.
TEST_F(EngineTest, AFailedStepEndsItsRequestsAndNoOthers) {
  for (const int failing : {1, 2, 5}) {
    EngineRig rig(world_, {.max_running = 3, .prefill_chunk = 8}, kSmall);
    rig.model.on_wait = [&rig, failing] {
      return rig.model.steps() == failing ? Unavailable("the device is lost") : absl::OkStatus();
    };
    RequestSpec choices = Long(6, 20), other = Long(9, 4);
    choices.n = 2, other.adapter = 1;
    const auto first = rig.Add(1, choices), second = rig.Add(2, choices), third = rig.Add(3, other);
    rig.RunToEnd();
    EXPECT_EQ(first->record().status.message(), "the device is lost") << failing;
    EXPECT_EQ(first->record().dones, 1);
    EXPECT_EQ(first->record().status.code(), absl::StatusCode::kUnavailable);
    ExpectSameAsAlone(third->record(), RunAlone(world_, other));
    EXPECT_TRUE(third->record().status.ok() || failing > 1);
    EXPECT_EQ(second->record().dones, 1);
    ExpectAllBack(rig);
  }
  EXPECT_THAT(Text(world_.metrics), HasSubstr("hydrad_device_errors_total{lost=\"step\"} 3\n"));
}

TEST_F(EngineTest, TheNextStepIsPreparedWhileOneRuns) {
  EngineRig rig(world_, {}, kSmall, /*asynchronous=*/true);
  const auto first = rig.Add(1, Long(5, 12)), second = rig.Add(2, Long(3, 20));
  rig.RunToEnd();
  ExpectSameAsAlone(first->record(), RunAlone(world_, Long(5, 12)));
  ExpectSameAsAlone(second->record(), RunAlone(world_, Long(3, 20)));
  EXPECT_EQ(rig.model.steps(), 20);
  EXPECT_EQ(rig.model.steps_prepared(), 19) << "also where a request ends by its length";
  ExpectAllBack(rig);
}

TEST_F(EngineTest, PiecesOfAPromptArePreparedBesideWhatDecodes) {
  EngineRig rig(world_, {.prefill_chunk = 4}, kSmall, /*asynchronous=*/true);
  rig.Add(1, Long(2, 30));
  rig.engine.Step();
  const auto prompt = rig.Add(2, Long(40, 3));
  rig.engine.Step();
  EXPECT_EQ(rig.model.steps_prepared(), 0) << "a request has come";
  for (int i = 0; i < 9; ++i) rig.engine.Step();
  EXPECT_EQ(rig.model.rows_run(), 2 + 10 * (1 + 4));
  EXPECT_EQ(rig.model.steps_prepared(), 9);
  rig.RunToEnd();
  ExpectSameAsAlone(prompt->record(), RunAlone(world_, Long(40, 3)));
}

TEST_F(EngineTest, StepsArePreparedWhileRequestsWaitForAPlace) {
  EngineRig rig(world_, {.max_running = 2}, kSmall, /*asynchronous=*/true);
  for (RequestId id = 1; id <= 5; ++id) {
    RequestSpec spec = Long(3, 10);
    spec.adapter = static_cast<int>(id % 3);
    rig.Add(id, spec);
  }
  for (int i = 0; i < 10; ++i) rig.engine.Step();
  EXPECT_EQ(rig.model.steps_prepared(), 9);
  rig.engine.Step();
  EXPECT_EQ(rig.model.steps_prepared(), 9) << "two have ended, and others start";
  rig.RunToEnd();
  ExpectAllBack(rig);
}

TEST_F(EngineTest, APreparedStepIsDroppedOnceSomethingHasChanged) {
  EngineRig rig(world_, {.prefix_cache = false}, kSmall, /*asynchronous=*/true);
  const auto first = rig.Add(1, Long(5, 30)), second = rig.Add(2, Long(5, 30));
  for (int i = 0; i < 4; ++i) rig.engine.Step();
  EXPECT_EQ(rig.model.steps_prepared(), 3);
  int rows = 0;
  rig.model.on_forward = [&](const Batch& batch) { rows = batch.rows(); };
  rig.engine.End(1, Cancelled("by a test"));
  rig.engine.Step();
  EXPECT_EQ(rows, 1) << "the cancelled one has left";
  rig.Add(3, Long(6, 5));
  rig.engine.Step();
  EXPECT_EQ(rows, 7) << "the new one has joined";
  EXPECT_EQ(rig.model.steps_prepared(), 3);
  rig.model.on_wait = [] { return Unavailable("the device is lost"); };
  rig.engine.Step();
  EXPECT_TRUE(absl::IsUnavailable(second->record().status));
  rig.model.on_wait = nullptr;
  EXPECT_FALSE(rig.engine.Step());
  ExpectAllBack(rig);
}

TEST_F(EngineTest, APromptWithLogitsThatAreNotNumbersEndsWhereTheyAreScored) {
  EngineRig rig(world_, {.prefill_chunk = 5}, kSmall);
  RequestSpec poisoned = Long(15, 5);
  poisoned.prompt[2] = token::kPoison;
  poisoned.output.prompt_logprobs = 0;
  const auto bad = rig.Add(1, poisoned);
  rig.RunToEnd();
  EXPECT_EQ(bad->record().status.code(), absl::StatusCode::kDataLoss);
  EXPECT_LT(rig.model.rows_run(), 15);
  ExpectAllBack(rig);
}

TEST_F(EngineTest, WhatARequestHeldIsFreeWhenItsSinkHearsOfTheEnd) {
  EngineRig rig(world_, {}, kSmall);
  RequestSpec spec = Long(5, 3);
  spec.adapter = 1;
  const auto sink = rig.Add(1, spec);
  bool free = false;
  sink->on_done = [&] { free = world_.AllBack() && rig.engine.free_blocks() == kSmall.kv_blocks; };
  rig.RunToEnd();
  EXPECT_TRUE(free);
}

TEST_F(EngineTest, ChoicesDrawAsIfEachWereAloneAndRunThePromptOnce) {
  EngineRig rig(world_, {}, kSmall);
  RequestSpec spec = Long(13, 6);
  spec.n = 3;
  spec.seed = 100;
  const auto sink = rig.Add(1, spec);
  rig.RunToEnd();
  const RecordingSink::Record together = sink->record();
  ASSERT_EQ(together.choices.size(), 3u);
  for (int i = 0; i < 3; ++i) {
    RequestSpec one = Long(13, 6);
    one.seed = 100 + i;
    const RecordingSink::Record alone = RunAlone(world_, one);
    EXPECT_EQ(together.choices.at(i).tokens, alone.choices.at(0).tokens);
    EXPECT_EQ(together.choices.at(i).text, alone.choices.at(0).text);
  }
  EXPECT_EQ(together.usage.prompt_tokens, 13);
  EXPECT_EQ(together.usage.generated_tokens, 18);
  EXPECT_EQ(rig.model.rows_run(), 13 + 2 * 1 + 3 * 5) << "12 of 13 prompt tokens are in full blocks";
  ExpectAllBack(rig);
}

TEST_F(EngineTest, MoreChoicesThanMayRunAllEnd) {
  EngineRig rig(world_, {.max_running = 2}, kSmall);
  RequestSpec spec = Long(9, 4);
  spec.n = 7;
  const auto sink = rig.Add(1, spec);
  rig.RunToEnd();
  ExpectSameAsAlone(sink->record(), RunAlone(world_, spec));
  EXPECT_TRUE(sink->record().status.ok());
  ExpectAllBack(rig);
}

TEST_F(EngineTest, PromptLogprobsComeWholeBeforeTheFirstTokenHoweverThePromptIsCut) {
  RequestSpec spec;
  spec.prompt = {0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 4};
  spec.output.prompt_logprobs = 2;
  spec.output.top_logprobs = 1;
  const RecordingSink::Record alone = RunAlone(world_, spec);
  ASSERT_EQ(alone.prompt_logprobs.size(), 10u);
  for (size_t i = 0; i < 10; ++i) {
    EXPECT_EQ(alone.prompt_logprobs[i].token, spec.prompt[i + 1]);
    EXPECT_EQ(alone.prompt_logprobs[i].top.size(), 2u);
  }
  EngineRig rig(world_, {}, kSmall);  // four logit rows a step
  const auto sink = rig.Add(1, spec);
  rig.Add(2, Long(3, 9));
  rig.RunToEnd();
  ExpectSameAsAlone(sink->record(), alone);
}

TEST_F(EngineTest, PreemptedSequencesDrawTheSameTokens) {
  ModelLimits tight = kSmall;
  tight.kv_blocks = 8;
  EngineRig rig(world_, {}, tight);
  std::vector<RequestSpec> specs;
  std::vector<std::shared_ptr<RecordingSink>> sinks;
  for (int i = 0; i < 4; ++i) {
    specs.push_back(Long(6, 20, i % RigWorld::kTenants));
    specs.back().seed = i;
    sinks.push_back(rig.Add(i + 1, specs.back()));
  }
  rig.RunToEnd();
  EXPECT_THAT(Text(world_.metrics), testing::Not(HasSubstr("hydrad_preemptions_total 0\n")));
  for (int i = 0; i < 4; ++i) {
    EXPECT_TRUE(sinks[i]->record().status.ok());
    ExpectSameAsAlone(sinks[i]->record(), RunAlone(world_, specs[i]));
  }
  ExpectAllBack(rig);
}

TEST_F(EngineTest, TimesComeFromTheClock) {
  EngineRig rig(world_, {.max_running = 1, .prefill_chunk = 4}, kSmall);
  rig.model.on_forward = [this](const Batch&) { world_.clock.Advance(milliseconds(10)); };
  const auto first = rig.Add(1, Long(8, 3)), second = rig.Add(2, Long(4, 1));
  rig.RunToEnd();
  const Usage a = first->record().usage, b = second->record().usage;
  EXPECT_EQ(a.queue, milliseconds(0));
  EXPECT_EQ(a.prefill, milliseconds(20));
  EXPECT_EQ(a.decode, milliseconds(20));
  EXPECT_EQ(b.queue, milliseconds(40));
  EXPECT_EQ(b.prefill, milliseconds(10));
  const std::string text = Text(world_.metrics);
  EXPECT_THAT(text, HasSubstr("hydrad_inter_token_latency_seconds_count 2\n"));
  EXPECT_THAT(text, HasSubstr("hydrad_inter_token_latency_seconds_sum 0.02\n"));
  EXPECT_THAT(text, HasSubstr("hydrad_time_to_first_token_seconds_count 2\n"));
  EXPECT_THAT(text, HasSubstr("hydrad_queue_duration_seconds_sum 0.04\n"));
  EXPECT_THAT(text, HasSubstr("hydrad_step_duration_seconds_count{phase=\"prefill\"} 3\n"));
  EXPECT_THAT(text, HasSubstr("hydrad_step_duration_seconds_count{phase=\"decode\"} 2\n"));
}

TEST_F(EngineTest, GaugesShowWhatIs) {
  EngineRig rig(world_, {}, kSmall);
  RequestSpec spec = Long(5, 30);
  spec.adapter = 2;
  rig.Add(1, spec);
  rig.engine.Step();
  rig.engine.Publish(7);
  const std::string text = Text(world_.metrics);
  EXPECT_THAT(text, HasSubstr("hydrad_requests_running 1\n"));
  EXPECT_THAT(text, HasSubstr("hydrad_requests_waiting 7\n"));
  EXPECT_THAT(text, HasSubstr("hydrad_kv_blocks{state=\"used\"} 2\n"));
  EXPECT_THAT(text, HasSubstr("running_lora_adapters=\"adapter2\",waiting_lora_adapters=\"\""));
  rig.engine.EndAll(Cancelled("enough"));
  rig.engine.Publish(0);
  EXPECT_THAT(Text(world_.metrics), HasSubstr("running_lora_adapters=\"\",waiting_lora_adapters=\"\""));
}

TEST_F(EngineTest, PromptAndDrawnTokensAreCharged) {
  RigWorld world({1, 1, 1});
  EngineRig fair(world, {.max_running = 1}, kSmall);
  // Tenant 0 is served 3 + 2 * 10 first, then tenant 1 its 10 + 2 * 1: by prompts alone 0 would be next.
  fair.Add(1, Long(3, 10, 0));
  fair.Add(2, Long(10, 1, 1));
  const auto more_of_0 = fair.Add(3, Long(3, 1, 0)), more_of_1 = fair.Add(4, Long(3, 1, 1));
  while (!more_of_0->done() && !more_of_1->done()) ASSERT_TRUE(fair.engine.Step());
  EXPECT_TRUE(more_of_1->done());
  fair.RunToEnd();
}

// What the fake model's routers say to a prompt on the base model.
std::vector<std::string> BaseVotes(const Mixture& mixture, const std::vector<int32_t>& prompt) {
  ExpertRoute route(mixture, Decision::kVote, 0, static_cast<int>(prompt.size()));
  FakeModel model(ModelOptions(kRoomy));
  Batch batch;
  for (size_t i = 0; i < prompt.size(); ++i) {
    batch.tokens.push_back(prompt[i]);
    batch.positions.push_back(static_cast<int32_t>(i));
    batch.slots.push_back(static_cast<int32_t>(i));
  }
  batch.segments = {{0, batch.rows(), 0, 0}};
  for (int block = 0; block * kRoomy.block_size < batch.rows(); ++block) batch.block_tables.push_back(block);
  HYDRAD_CHECK(route.AddProbe(0, batch.rows(), 0, &batch));
  const auto result = model.Launch(batch, {}, {}).Wait();
  HYDRAD_CHECK(result.ok());
  route.Saw(result->routes[0]);
  route.Decide();
  return route.taken().votes;
}

RequestSpec Moa(int adapter, Decision decision, int prompt, int max_tokens) {
  RequestSpec spec = Long(prompt, max_tokens);
  for (int i = 0; i < prompt; ++i) spec.prompt[i] = i % token::kEnd;
  spec.adapter = adapter;
  spec.decision = decision;
  return spec;
}

TEST_F(EngineTest, ARoutingPassRunsThePromptOnTheBaseModelFirst) {
  for (const int adapter : {RigWorld::kLastMoa, RigWorld::kMeanMoa}) {
    for (const Decision decision : {Decision::kLast, Decision::kVote}) {
      EngineRig rig(world_, {.prefill_chunk = 4}, kSmall);
      std::vector<std::pair<int, bool>> steps;  // rows, adapted
      rig.model.on_forward = [&](const Batch& b) { steps.emplace_back(b.rows(), !b.runs.empty()); };
      const RequestSpec spec = Moa(adapter, decision, 10, 2);
      const auto sink = rig.Add(1, spec);
      rig.RunToEnd();
      const std::vector<std::pair<int, bool>> want = {{4, false}, {4, false}, {2, false}, {4, true},
                                                      {4, true},  {2, true},  {1, true}};
      EXPECT_EQ(steps, want);
      const RouteTaken route = *sink->record().route;
      EXPECT_EQ(route.votes, BaseVotes(world_.mixture(adapter), spec.prompt));
      EXPECT_TRUE(decision == Decision::kVote || route.expert == route.votes.back());
      EXPECT_GE(std::ranges::count(route.votes, route.expert), 1);
      EXPECT_EQ(route.decision, decision);
      ExpectSameAsAlone(sink->record(), RunAlone(world_, spec));
      ExpectAllBack(rig);
    }
  }
}

TEST_F(EngineTest, ALabelNeedsNoPassAndNoRouter) {
  EngineRig rig(world_, {}, kSmall);
  RequestSpec spec = Moa(RigWorld::kLastMoa, Decision::kLabel, 5, 3);
  spec.expert = 2;
  const auto sink = rig.Add(1, spec);
  rig.RunToEnd();
  EXPECT_EQ(rig.model.rows_run(), 7);
  EXPECT_EQ(sink->record().route->expert, "expert2");
  EXPECT_TRUE(sink->record().route->votes.empty());
}

TEST_F(EngineTest, ByLayerThePromptRunsOnceAndInOnePiece) {
  EngineRig rig(world_, {.prefill_chunk = 4}, kSmall);
  std::vector<int> rows;
  rig.model.on_forward = [&](const Batch& b) { rows.push_back(b.rows()); };
  const auto sink = rig.Add(1, Moa(RigWorld::kMeanMoa, Decision::kLayer, 13, 2));
  rig.RunToEnd();
  EXPECT_EQ(rows, (std::vector<int>{13, 1}));
  EXPECT_EQ(sink->record().route->expert, "");
  EXPECT_EQ(sink->record().route->votes.size(), static_cast<size_t>(FakeModel::kLayers));
  ExpectAllBack(rig);
}

TEST_F(EngineTest, ByLayerAScoredPromptIsRoutedFirst) {
  EngineRig rig(world_, {}, kSmall);  // four logits a step
  RequestSpec spec = Moa(RigWorld::kLastMoa, Decision::kLayer, 12, 2);
  spec.output.prompt_logprobs = 0;
  const auto sink = rig.Add(1, spec);
  rig.RunToEnd();
  EXPECT_EQ(sink->record().prompt_logprobs.size(), 11u);
  EXPECT_EQ(rig.model.rows_run(), 12 + 12 + 1);
  ExpectSameAsAlone(sink->record(), RunAlone(world_, spec));
}

TEST_F(EngineTest, PreemptedSequencesKeepTheirExperts) {
  ModelLimits tight = kSmall;
  tight.kv_blocks = 8;
  EngineRig rig(world_, {.prefill_chunk = 4}, tight);
  std::vector<RequestSpec> specs;
  std::vector<std::shared_ptr<RecordingSink>> sinks;
  for (int i = 0; i < 6; ++i) {
    const Decision decision = i % 3 == 0 ? Decision::kVote : i % 3 == 1 ? Decision::kLayer : Decision::kLast;
    specs.push_back(Moa(i < 3 ? RigWorld::kLastMoa : RigWorld::kMeanMoa, decision, 6, 20));
    specs.back().tenant = i % RigWorld::kTenants;
    specs.back().seed = i;
    sinks.push_back(rig.Add(i + 1, specs.back()));
  }
  rig.RunToEnd();
  EXPECT_THAT(Text(world_.metrics), testing::Not(HasSubstr("hydrad_preemptions_total 0\n")));
  for (int i = 0; i < 6; ++i) {
    EXPECT_TRUE(sinks[i]->record().status.ok());
    ExpectSameAsAlone(sinks[i]->record(), RunAlone(world_, specs[i]));
  }
  ExpectAllBack(rig);
}

TEST_F(EngineTest, ChoicesShareTheRoute) {
  for (const Decision decision : {Decision::kVote, Decision::kLayer}) {
    EngineRig rig(world_, {}, kSmall);
    RequestSpec spec = Moa(RigWorld::kMeanMoa, decision, 9, 4);
    spec.n = 3;
    spec.sampling.temperature = 1;
    const auto sink = rig.Add(1, spec);
    rig.RunToEnd();
    EXPECT_EQ(sink->record().choices.size(), 3u);
    ExpectSameAsAlone(sink->record(), RunAlone(world_, spec));
    const int passes = decision == Decision::kVote ? 2 : 1;
    EXPECT_EQ(rig.model.rows_run(), 9 * passes + 3 * 3 + 2) << "the last block's token is run by each choice";
  }
}

TEST_F(EngineTest, BothRunsOfARoutedPromptAreCharged) {
  RigWorld world({1, 1, 1});
  EngineRig fair(world, {.max_running = 1}, kSmall);
  // Tenant 0 is served 6 twice, then tenant 1 its 10 once and 2 for a token each: charged once, 0 would be
  // next.
  fair.Add(1, Moa(RigWorld::kLastMoa, Decision::kVote, 6, 1));
  fair.Add(2, Long(10, 1, 1));
  const auto more_of_0 = fair.Add(3, Long(3, 1, 0)), more_of_1 = fair.Add(4, Long(3, 1, 1));
  while (!more_of_0->done() && !more_of_1->done()) ASSERT_TRUE(fair.engine.Step());
  EXPECT_TRUE(more_of_1->done());
  fair.RunToEnd();
}

// Work that tenants' requests have had, as FairShare counts it.
double Served(const RequestSpec& spec, const RecordingSink::Record& record) {
  double output = 0;
  for (const auto& [index, choice] : record.choices) output += static_cast<double>(choice.tokens.size());
  return (record.starts > 0 ? static_cast<double>(spec.prompt.size()) : 0) + 2 * output;
}

// Theorem 4.8 of arXiv 2401.00588: two tenants that always have work waiting differ by at most 2 max(w_p L,
// w_q M), with L the longest prompt and M the tokens that the batch can hold.
TEST_F(EngineTest, BackloggedTenantsGetTheirShareWhateverTheyAskFor) {
  RigWorld world({1, 3, 1});
  // What is in the cache is no service: the bound is on what is computed.
  EngineRig rig(world, {.max_running = 4, .prefill_chunk = 8, .prefix_cache = false}, kSmall);
  std::mt19937_64 rng(5);
  std::vector<std::pair<RequestSpec, std::shared_ptr<RecordingSink>>> requests;
  RequestId id = 0;
  // The greedy tenant asks for much, often; the other for little, and just enough to have work waiting.
  for (int i = 0; i < 200; ++i) {
    for (const RequestSpec& spec :
         {Long(30 + static_cast<int>(rng() % 10), 20, 0), Long(3, 5, 1), Long(3, 5, 1)}) {
      requests.emplace_back(spec, rig.Add(++id, spec));
    }
  }
  const double bound = 2 * std::max(1.0 * 40, 2.0 * kSmall.kv_blocks * kSmall.block_size);
  for (int step = 0; step < 1500; ++step) {
    ASSERT_TRUE(rig.engine.Step());
    double served[RigWorld::kTenants] = {};
    for (const auto& [spec, sink] : requests) served[spec.tenant] += Served(spec, sink->record());
    ASSERT_LE(std::abs(served[0] / 1 - served[1] / 3), bound) << "step " << step;
    const bool backlogged = std::ranges::any_of(requests, [](const auto& request) {
      return request.first.tenant == 1 && request.second->record().starts == 0;
    });
    if (!backlogged) break;
  }
}

TEST_F(EngineTest, AQuietTenantDoesNotWaitBehindABusyOnesQueue) {
  EngineRig rig(world_, {.max_running = 4, .prefill_chunk = 8}, kSmall);
  for (RequestId id = 1; id <= 50; ++id) rig.Add(id, Long(30, 2, 0));
  for (int i = 0; i < 10; ++i) rig.engine.Step();
  const auto quiet = rig.Add(99, Long(4, 1, 1));
  for (int i = 0; i < 10 && !quiet->done(); ++i) rig.engine.Step();
  EXPECT_TRUE(quiet->done());
}

// What the histories came across, so that a test of nothing is noticed.
struct Met {
  int ok = 0, cancelled = 0, expired = 0, poisoned = 0, preempting_histories = 0;
  int64_t steps = 0, prepared = 0;
};

// One random life of an engine: requests come, are cancelled, expire, stall and are preempted.
class History {
 public:
  explicit History(uint64_t seed, bool asynchronous = false, bool roomy = false)
      : rng_(seed),
        options_(Options()),
        limits_(Limits(roomy)),
        at_once_(roomy),
        rig_(world_, options_, limits_, asynchronous) {
    rig_.model.on_forward = [this](const Batch& batch) {
      steps_.emplace_back(batch.tokens, batch.positions);
    };
  }

  void Run(Met* met) {
    int to_come = 3 + Draw(10), steps = 0;
    while (to_come > 0 || !rig_.engine.empty()) {
      ASSERT_LT(++steps, 5000) << "nothing ends";
      if (to_come > 0 && Draw(3) == 0) {
        Submit();
        --to_come;
      }
      if (Draw(20) == 0) rig_.engine.End(1 + Draw(static_cast<int>(specs_.size()) + 1), Cancelled("client"));
      world_.clock.Advance(milliseconds(Draw(3)));
      rig_.engine.Expire();
      const bool had_work = !rig_.engine.empty();
      ASSERT_EQ(rig_.engine.Step(), had_work);
    }
    Verify();
    for (const auto& sink : sinks_) Count(sink->record().status, met);
    met->steps += rig_.model.steps();
    met->prepared += rig_.model.steps_prepared();
    if (Text(world_.metrics).find("hydrad_preemptions_total 0\n") == std::string::npos)
      ++met->preempting_histories;
  }

  // The tokens and positions of every step.
  using Steps = std::vector<std::pair<std::vector<int32_t>, std::vector<int32_t>>>;
  const Steps& steps() const { return steps_; }

 private:
  static void Count(const absl::Status& status, Met* met) {
    met->ok += status.ok();
    met->cancelled += absl::IsCancelled(status);
    met->expired += absl::IsDeadlineExceeded(status);
    met->poisoned += absl::IsDataLoss(status);
  }
  int Draw(int n) { return static_cast<int>(rng_() % n); }
  SchedulerOptions Options() { return {.max_running = 1 + Draw(10), .prefill_chunk = 1 + Draw(40)}; }
  ModelLimits Limits(bool roomy) {
    const int block_size = 1 + Draw(8);
    return {.max_rows = 4 + Draw(40),
            .max_logit_rows = 1 + Draw(20),
            .max_context = 96,
            .block_size = block_size,
            .kv_blocks = roomy ? 2000 : 61 / block_size + 1 + Draw(Draw(2) == 0 ? 30 : 3)};
  }

  void Submit() {
    specs_.push_back(RandomSpec(rng_));
    BeginAsAnother(&specs_.back());
    if (at_once_ && specs_.back().form != nullptr)
      specs_.back().form = std::make_shared<FakeForm>(specs_.size());
    RequestSpec& spec = specs_.back();
    const bool fits = static_cast<int>(spec.prompt.size()) <= rig_.unsplit_rows;
    if (spec.decision == Decision::kLayer && !fits) spec.decision = Decision::kVote;
    std::optional<TimePoint> deadline;
    if (Draw(5) == 0) deadline = world_.clock.Now() + milliseconds(Draw(60));
    const int stall_after = Draw(8) == 0 ? 1 + Draw(5) : -1;
    sinks_.push_back(rig_.Add(specs_.size(), specs_.back(), stall_after, deadline));
  }

  // Prompts that begin alike, and some that repeat one another.
  void BeginAsAnother(RequestSpec* spec) {
    if (Draw(2) == 0) return;
    const RequestSpec& other = specs_[static_cast<size_t>(Draw(static_cast<int>(specs_.size())))];
    const int common = Draw(static_cast<int>(other.prompt.size()) + 1);
    const std::vector<int32_t> begin(other.prompt.begin(), other.prompt.begin() + common);
    if (Draw(2) == 0) spec->adapter = other.adapter;
    spec->tenant = other.tenant;
    spec->prompt.insert(spec->prompt.begin(), begin.begin(), begin.end());
    if (spec->prompt.size() > 40) spec->prompt.resize(40);
  }

  void Verify() {
    for (size_t i = 0; i < specs_.size(); ++i) {
      SCOPED_TRACE("request " + std::to_string(i + 1));
      const RecordingSink::Record alone = RunAlone(world_, specs_[i]), got = sinks_[i]->record();
      ExpectSameAsAlone(got, alone);
      EXPECT_TRUE(alone.status.ok() || !got.status.ok());
    }
    EXPECT_EQ(rig_.engine.free_blocks(), limits_.kv_blocks);
    EXPECT_EQ(rig_.room.taken(), 0);
    EXPECT_TRUE(world_.AllBack());
  }

  std::mt19937_64 rng_;
  RigWorld world_;
  const SchedulerOptions options_;
  const ModelLimits limits_;
  const bool at_once_;  // forms say at once what they allow
  EngineRig rig_;
  std::vector<RequestSpec> specs_;
  std::vector<std::shared_ptr<RecordingSink>> sinks_;
  Steps steps_;
};

TEST(EngineHistories, EveryRequestGetsWhatItWouldGetAlone) {
  Met met;
  for (uint64_t seed = 0; seed < 2000; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    History(seed).Run(&met);
    if (testing::Test::HasFailure()) return;
  }
  EXPECT_GT(met.ok, 1000);
  EXPECT_GT(met.cancelled, 1000);
  EXPECT_GT(met.expired, 200);
  EXPECT_GT(met.poisoned, 200);
  EXPECT_GT(met.preempting_histories, 200);
}

TEST(EngineHistories, EveryRequestGetsTheSameWhereStepsArePrepared) {
  Met met;
  for (uint64_t seed = 2000; seed < 2700; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    History(seed, /*asynchronous=*/true).Run(&met);
    if (testing::Test::HasFailure()) return;
  }
  EXPECT_GT(met.prepared, met.steps / 4);
  EXPECT_GT(met.preempting_histories, 50);
}

// Where blocks do not run short and masks come at once, every step is the same, too. A prepared one that is
// dropped keeps its blocks.
TEST(EngineHistories, EveryStepIsTheSameWhereStepsArePrepared) {
  Met met, prepared;
  for (uint64_t seed = 3000; seed < 3200; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    History history(seed, /*asynchronous=*/false, /*roomy=*/true), ahead(seed, true, true);
    history.Run(&met);
    ahead.Run(&prepared);
    EXPECT_EQ(ahead.steps(), history.steps());
    if (testing::Test::HasFailure()) return;
  }
  EXPECT_EQ(met.prepared, 0);
  EXPECT_GT(prepared.prepared, prepared.steps / 4);
}

}  // namespace
}  // namespace hydrad
