// Requests whose adapter is not on the device: they wait outside of the batch and hold up nobody.
#include <gtest/gtest.h>

#include "server/base/check.h"
#include "server/base/status.h"
#include "server/scheduler/fit_to_model.h"
#include "tests/fakes/fake_claim.h"
#include "tests/scheduler/rig.h"

namespace hydrad {
namespace {

using std::chrono::seconds;

constexpr ModelLimits kSmall{
    .max_rows = 16, .max_logit_rows = 4, .max_context = 64, .block_size = 4, .kv_blocks = 64};

class AdapterWaitTest : public testing::Test {
 protected:
  AdapterWaitTest() {
    options_.want_adapters = [this](const std::vector<std::string>& names) { wanted_ = names; };
    rig_ = std::make_unique<EngineRig>(world_, options_, kSmall);
  }
  // A request on `stored`.
  std::shared_ptr<RecordingSink> Ask(RequestId id, FakeStored& stored, int tenant = 0,
                                     std::optional<TimePoint> deadline = std::nullopt) {
    RequestSpec spec;
    spec.tenant = tenant;
    spec.stopping.max_tokens = 3;
    spec.stopping.ignore_eos = true;
    auto sink = std::make_shared<RecordingSink>();
    Request request = world_.Make(id, spec, sink);
    request.adapter = stored.Handle();
    request.deadline = deadline;
    HYDRAD_CHECK(FitToModel(token::kCount, kSmall, &request).ok());
    rig_->engine.Add(std::move(request), *rig_->room.Take());
    return sink;
  }

  RigWorld world_;
  SchedulerOptions options_;
  std::vector<std::string> wanted_;
  std::unique_ptr<EngineRig> rig_;
  FakeStored away_{.name = "away", .generation = 7, .device = std::make_shared<FakeAdapter>(7)};
  FakeStored here_{
      .name = "here", .generation = 8, .device = std::make_shared<FakeAdapter>(8), .ready = true};
};

TEST_F(AdapterWaitTest, OthersOfItsTenantPassARequestThatWaits) {
  const auto waiting = Ask(1, away_), passing = Ask(2, here_), base = rig_->Add(3, {});
  rig_->RunToEnd();
  EXPECT_EQ(waiting->record().dones, 0);
  EXPECT_TRUE(passing->record().status.ok());
  EXPECT_EQ(passing->record().generations, std::vector<uint64_t>{8});
  EXPECT_EQ(base->record().dones, 1);
  EXPECT_EQ(base->record().generations, std::vector<uint64_t>{0});
  EXPECT_EQ(rig_->engine.free_blocks(), kSmall.kv_blocks) << "it holds no blocks";
  EXPECT_EQ(wanted_, std::vector<std::string>{"away"});
  EXPECT_FALSE(rig_->engine.Step()) << "nothing to do until the adapter comes";

  away_.ready = true;
  rig_->RunToEnd();
  EXPECT_TRUE(waiting->record().status.ok());
  EXPECT_EQ(waiting->record().generations, std::vector<uint64_t>{7});
  EXPECT_TRUE(rig_->engine.empty());
  EXPECT_TRUE(wanted_.empty());
}

TEST_F(AdapterWaitTest, ItRunsOnTheGenerationThatServesWhenItStarts) {
  const auto sink = Ask(1, away_);
  rig_->engine.Step();
  away_.generation = 9;
  away_.ready = true;
  rig_->engine.Step();
  away_.generation = 10;
  rig_->RunToEnd();
  EXPECT_EQ(sink->record().generations, std::vector<uint64_t>{9});
}

TEST_F(AdapterWaitTest, ACompositionStartsWithAllOfItsAdaptersOrHoldsNone) {
  FakeStored other{.name = "other", .generation = 3, .device = std::make_shared<FakeAdapter>(3)};
  auto sink = std::make_shared<RecordingSink>();
  Request request = world_.Make(1, {}, sink);
  request.adapter = here_.Handle();
  request.composed.push_back({other.Handle(), 0.5f});
  rig_->engine.Add(std::move(request), *rig_->room.Take());
  EXPECT_FALSE(rig_->engine.Step());
  EXPECT_EQ(wanted_, (std::vector<std::string>{"here", "other"}));
  EXPECT_EQ(here_.binds, 0);
  other.ready = true;
  rig_->RunToEnd();
  EXPECT_TRUE(sink->record().status.ok()) << sink->record().status;
  EXPECT_EQ(sink->record().generations, (std::vector<uint64_t>{8, 3}));
}

// Where an adapter begins is its generation's to say, and which one that is is not known on arrival.
TEST_F(AdapterWaitTest, AnInvokedAdapterBeginsWhereTheGenerationThatItRunsOnSays) {
  std::vector<Batch::Run> runs;
  rig_->model.on_forward = [&](const Batch& batch) {
    runs.insert(runs.end(), batch.runs.begin(), batch.runs.end());
  };
  away_.invocation = {token::kA};
  const auto sink = Ask(1, away_);  // its prompt is a b c
  rig_->engine.Step();
  away_.invocation = {token::kB};
  away_.ready = true;
  rig_->RunToEnd();
  EXPECT_TRUE(sink->record().status.ok());
  ASSERT_EQ(runs.size(), 3u) << "the prompt and two tokens";
  EXPECT_EQ(runs[0].row_begin, 1);
  EXPECT_EQ(runs[0].row_end, 3);
  EXPECT_EQ(runs[1].row_begin, 0);
}

// Its first adapter is bound and let go of while the second is away, and replaced meanwhile.
TEST_F(AdapterWaitTest, NothingOfAGenerationThatWasLetGoIsKept) {
  FakeStored other{.name = "other", .device = std::make_shared<FakeAdapter>(3)};
  const auto ask = [&](RequestId id) {
    auto sink = std::make_shared<RecordingSink>();
    Request request = world_.Make(id, {}, sink);
    request.adapter = here_.Handle();
    request.composed.push_back({other.Handle(), 0.5f});
    rig_->engine.Add(std::move(request), *rig_->room.Take());
    return sink;
  };
  const auto sink = ask(1);
  rig_->engine.Step();
  other.ready = true;
  here_.ready = false;  // is away when the other one comes
  rig_->engine.Step();
  here_ = {.name = "here", .generation = 9, .device = std::make_shared<FakeAdapter>(9), .ready = true};
  rig_->RunToEnd();
  EXPECT_EQ(sink->record().generations, (std::vector<uint64_t>{9, 1}));
  const auto again = ask(2);
  rig_->RunToEnd();
  EXPECT_EQ(sink->record().choices.at(0).tokens, again->record().choices.at(0).tokens);
}

TEST_F(AdapterWaitTest, ADeadlineEndsTheWait) {
  const TimePoint deadline = world_.clock.Now() + seconds(1);
  const auto sink = Ask(1, away_, 0, deadline);
  EXPECT_FALSE(rig_->engine.Step());
  EXPECT_EQ(rig_->engine.next_deadline(), deadline);
  world_.clock.Advance(seconds(1));
  rig_->engine.Expire();
  EXPECT_EQ(sink->record().status.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_TRUE(rig_->engine.empty());
  rig_->engine.Step();
  EXPECT_EQ(rig_->room.taken(), 0);
}

TEST_F(AdapterWaitTest, ACancelEndsTheWait) {
  const auto sink = Ask(1, away_);
  rig_->engine.Step();
  rig_->engine.End(1, Cancelled("gone"));
  EXPECT_EQ(sink->record().status, Cancelled("gone"));
  EXPECT_TRUE(rig_->engine.empty());
}

TEST_F(AdapterWaitTest, WhatCannotComeOrWasTakenAwayEndsItsRequestsAlone) {
  const auto waiting = Ask(1, away_), running = Ask(2, here_), other = rig_->Add(3, {});
  rig_->engine.Step();
  away_.status = FailedPrecondition("it has changed");
  here_.status = Aborted("unloaded by force");
  rig_->engine.EndAborted();
  EXPECT_EQ(waiting->record().status, away_.status);
  EXPECT_EQ(running->record().status, here_.status);
  rig_->RunToEnd();
  EXPECT_TRUE(other->record().status.ok());
  EXPECT_EQ(rig_->engine.free_blocks(), kSmall.kv_blocks);
}

// The policy plans with what was there, the store takes it away before the request is bound.
TEST_F(AdapterWaitTest, AnAdapterThatGoesAtTheLastMomentIsWaitedFor) {
  struct Fickle final : AdapterClaim {
    explicit Fickle(FakeStored& s, int& t) : stored(s), tries(t) {}
    const std::string& name() const override { return stored.name; }
    const void* key() const override { return &stored; }
    bool ready() const override { return true; }
    bool blocked() const override { return false; }
    bool kept() const override { return false; }
    absl::Status status() const override { return {}; }
    std::shared_ptr<const AdapterGeneration> Bind() override {
      if (++tries < 3) return nullptr;
      return std::make_shared<AdapterGeneration>(AdapterGeneration{stored.name, 1, stored.device});
    }
    void Unbind() override {}
    FakeStored& stored;
    int& tries;
  };
  int tries = 0;
  RequestSpec spec;
  auto sink = std::make_shared<RecordingSink>();
  Request request = world_.Make(1, spec, sink);
  request.adapter = AdapterHandle(std::make_unique<Fickle>(away_, tries));
  rig_->engine.Add(std::move(request), *rig_->room.Take());
  EXPECT_FALSE(rig_->engine.Step());
  EXPECT_FALSE(rig_->engine.Step());
  rig_->RunToEnd();
  EXPECT_TRUE(sink->record().status.ok());
  EXPECT_EQ(tries, 3);
}

// Turn by turn: each tenant's first, then each tenant's second; the least served tenant first.
TEST_F(AdapterWaitTest, WantedIsWhatTheNextRequestsNeed) {
  FakeStored b{.name = "b"}, c{.name = "c"}, d{.name = "d"};
  const auto first = Ask(1, away_, 0), second = Ask(2, b, 0), third = Ask(3, c, 0), other = Ask(4, d, 1),
             same = Ask(5, b, 1);
  rig_->engine.Step();
  EXPECT_EQ(wanted_, (std::vector<std::string>{"away", "d", "b", "c"}));
  rig_->engine.EndAll(Cancelled("done"));
  EXPECT_FALSE(rig_->engine.Step());
}

// Steady requests on one adapter, and one request on another for which there is no room meanwhile.
TEST_F(AdapterWaitTest, NobodyStarvesBesideABusyAdapter) {
  away_.blocked = true;
  const auto starving = Ask(1, away_);
  RequestId id = 2;
  std::vector<std::shared_ptr<RecordingSink>> busy;
  int steps = 0;
  for (; starving->record().dones == 0 && steps < 1000; ++steps) {
    if (steps % 2 == 0) busy.push_back(Ask(id++, here_));  // each takes three steps: they overlap
    world_.clock.Advance(std::chrono::milliseconds(20));
    rig_->engine.Step();
    const bool in_use = rig_->engine.running() > 0 && !away_.ready;
    if (!in_use) {  // the last one let go: there is room
      away_.ready = true;
      here_.ready = false;
    }
  }
  EXPECT_LT(steps, 40) << "patience, a request, and its own";
  EXPECT_TRUE(starving->record().status.ok());
  here_.ready = true;
  rig_->RunToEnd();
  for (const auto& sink : busy) EXPECT_TRUE(sink->record().status.ok());
}

}  // namespace
}  // namespace hydrad
