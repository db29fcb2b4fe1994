// Answers that must have a form, through the engine.
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/fakes/fake_form.h"
#include "tests/scheduler/rig.h"

namespace hydrad {
namespace {

class FormTest : public testing::Test {
 protected:
  static RequestSpec Formed(std::shared_ptr<FakeForm> form, int max_tokens = 60) {
    RequestSpec spec;
    spec.form = std::move(form);
    spec.stopping.max_tokens = max_tokens;
    return spec;
  }
  // The tokens of an answer, without the end token.
  static std::vector<int32_t> Answer(const RecordingSink::Record& record, int choice = 0) {
    std::vector<int32_t> tokens = record.choices.at(choice).tokens;
    if (!tokens.empty() && tokens.back() == token::kEnd) tokens.pop_back();
    return tokens;
  }

  RigWorld world_;
};

TEST_F(FormTest, EveryAnswerThatEndsHasTheForm) {
  int ended = 0, cut = 0;
  for (uint64_t salt = 1; salt <= 60; ++salt) {
    const auto form = std::make_shared<FakeForm>(salt);
    RequestSpec spec = Formed(form, 12);
    spec.seed = salt;
    spec.sampling.temperature = salt % 2 == 0 ? 0 : 1;
    spec.n = 1 + static_cast<int>(salt % 3);
    const RecordingSink::Record record = RunAlone(world_, spec);
    ASSERT_TRUE(record.status.ok()) << record.status;
    for (int choice = 0; choice < spec.n; ++choice) {
      const std::vector<int32_t> answer = Answer(record, choice);
      if (record.choices.at(choice).reason == FinishReason::kStop) {
        EXPECT_TRUE(form->IsOf(answer)) << salt << " choice " << choice;
        ++ended;
      } else {
        EXPECT_EQ(record.choices.at(choice).reason, FinishReason::kLength);
        EXPECT_TRUE(form->Begins(answer)) << salt << " choice " << choice;
        ++cut;
      }
    }
  }
  EXPECT_GT(ended, 20);
  EXPECT_GT(cut, 0);
}

// min_tokens and ignore_eos put the end off for as long as the form leaves anything else.
TEST_F(FormTest, TheFormComesBeforeWhatPutsTheEndOff) {
  int early = 0;
  for (uint64_t salt = 1; salt <= 60; ++salt) {
    const auto form = std::make_shared<FakeForm>(salt);
    RequestSpec spec = Formed(form, 40);
    spec.stopping.ignore_eos = salt % 2 == 0;
    spec.stopping.min_tokens = salt % 2 == 0 ? 0 : 40;
    const RecordingSink::Record record = RunAlone(world_, spec);
    ASSERT_TRUE(record.status.ok()) << record.status;
    if (record.choices.at(0).reason == FinishReason::kLength) continue;
    EXPECT_EQ(record.choices.at(0).reason, FinishReason::kStop);
    uint64_t state = salt;
    for (const int32_t token : Answer(record)) state = FakeForm::After(state, token);
    EXPECT_EQ(FakeForm::Allowed(state), std::set<int32_t>{token::kEnd}) << salt;
    ++early;
  }
  EXPECT_GT(early, 5);
}

TEST_F(FormTest, ASlowFormHoldsUpNobodyElse) {
  for (const bool asynchronous : {false, true}) {
    EngineRig rig(world_, {}, kRoomy, asynchronous);
    const auto slow = rig.Add(1, Formed(std::make_shared<FakeForm>(5, /*calls=*/1000), 3));
    RequestSpec plain;
    plain.stopping.max_tokens = 8;
    plain.stopping.ignore_eos = true;
    const auto other = rig.Add(2, plain);
    for (int i = 0; i < 10 && !other->done(); ++i) rig.engine.Step();
    EXPECT_TRUE(other->done());
    EXPECT_FALSE(slow->done());
    rig.RunToEnd();
    EXPECT_TRUE(slow->record().status.ok());
    EXPECT_EQ(Answer(slow->record()), Answer(RunAlone(world_, Formed(std::make_shared<FakeForm>(5), 3))));
  }
}

// It counts among those that run, so that no step has more of them than it may.
TEST_F(FormTest, WhoWaitsForAMaskKeepsItsPlace) {
  EngineRig rig(world_, {.max_running = 2}, kRoomy);
  int most = 0;
  rig.model.on_forward = [&](const Batch& batch) {
    most = std::max(most, static_cast<int>(batch.segments.size()));
  };
  for (RequestId id = 1; id <= 6; ++id) {
    RequestSpec spec = Formed(std::make_shared<FakeForm>(id, /*calls=*/static_cast<int>(id) % 3 + 1), 6);
    spec.n = static_cast<int>(id) % 2 + 1;
    rig.Add(id, spec);
  }
  while (rig.engine.Step()) EXPECT_LE(rig.engine.running(), 2);
  EXPECT_EQ(most, 2);
}

TEST_F(FormTest, AFormThatCannotGoOnEndsItsRequestAlone) {
  EngineRig rig(world_, {}, kRoomy);
  // Salt 5 goes on for more than two tokens.
  const auto failing = rig.Add(1, Formed(std::make_shared<FakeForm>(5, 1, /*fails_after=*/2), 60));
  const auto at_once = rig.Add(2, Formed(std::make_shared<FakeForm>(5, 1, /*fails_after=*/0), 60));
  RequestSpec plain;
  plain.stopping.max_tokens = 8;
  const auto other = rig.Add(3, plain);
  rig.RunToEnd();
  EXPECT_EQ(failing->record().status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_GE(failing->record().choices.at(0).tokens.size(), 1u);
  EXPECT_EQ(at_once->record().status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(other->record().status.ok());
  EXPECT_TRUE(rig.engine.empty());
  EXPECT_EQ(rig.engine.free_blocks(), rig.model.limits().kv_blocks);
}

}  // namespace
}  // namespace hydrad
