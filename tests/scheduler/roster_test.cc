#include "server/scheduler/roster.h"

#include <gtest/gtest.h>

#include "tests/scheduler/rig.h"

namespace hydrad {
namespace {

constexpr int kMaxRunning = 3, kBlockSize = 4;
const std::vector<int32_t> kEos = {token::kEnd};

class RosterTest : public testing::Test {
 protected:
  // Returns the first choice.
  Roster::Entry Add(RequestId id, RequestSpec spec = {}, std::optional<TimePoint> deadline = std::nullopt) {
    Request request = world_.Make(id, spec, nullptr);
    request.deadline = deadline;
    roster_.Add(std::move(request), *room_.Take());
    ActiveRequest* active = roster_.Find(id);
    EXPECT_TRUE(active->request.BindAdapters());
    return {active, active->choices.front().get()};
  }
  std::vector<SequenceId> Running() {
    std::vector<SequenceId> ids;
    for (const Roster::Entry& entry : roster_.running()) ids.push_back(entry.sequence->id());
    return ids;
  }
  std::vector<SequenceId> Waiting(int prefill_chunk = 1000) {
    std::vector<SequenceView> running, waiting;
    roster_.View(prefill_chunk, &running, &waiting);
    std::vector<SequenceId> ids;
    for (const SequenceView& view : waiting) ids.push_back(view.id);
    return ids;
  }

  using Ids = std::vector<SequenceId>;
  RigWorld world_;
  QueueLimit room_{100};
  BlockPool pool_{64};
  PrefixIndex index_{kBlockSize, pool_};
  PrefixCache cache_{index_, /*shared=*/false};
  Roster roster_{*world_.tokenizer, kEos, kMaxRunning, cache_};
};

TEST_F(RosterTest, ARequestWaitsRunsAndGoes) {
  RequestSpec spec;
  spec.adapter = 1;
  const Roster::Entry entry = Add(5, spec);
  roster_.UpdateStartGate(world_.clock.Now());
  EXPECT_EQ(Waiting(), Ids{1});
  EXPECT_EQ(room_.taken(), 1);
  roster_.Start(entry);
  EXPECT_EQ(Waiting(), Ids{});
  EXPECT_EQ(Running(), Ids{1});
  EXPECT_EQ(room_.taken(), 0) << "it has started";
  EXPECT_FALSE(world_.AllBack());
  roster_.Remove(*entry.request);
  EXPECT_TRUE(roster_.empty());
  EXPECT_EQ(Running(), Ids{});
  EXPECT_TRUE(world_.AllBack());
  EXPECT_EQ(roster_.Find(5), nullptr);
  EXPECT_EQ(roster_.FindSequence(1).sequence, nullptr);
}

TEST_F(RosterTest, APreemptedSequenceWaitsInItsOldPlace) {
  const Roster::Entry first = Add(1), second = Add(2);
  Add(3);
  roster_.Start(first);
  roster_.Start(second);
  roster_.Preempt(second);
  EXPECT_EQ(Running(), Ids{1});
  EXPECT_EQ(Waiting(), (Ids{2, 3}));
  EXPECT_EQ(room_.taken(), 1) << "it has started once; its place is given back";
}

TEST_F(RosterTest, ShowsNoMoreOfATenantThanAStepCouldStart) {
  RequestSpec spec;
  spec.prompt.assign(10, 0);
  for (RequestId id = 1; id <= 5; ++id) Add(id, spec);
  spec.tenant = 1;
  Add(6, spec);
  EXPECT_EQ(Waiting(), (Ids{1, 2, 3, 6})) << "three may run";
  EXPECT_EQ(Waiting(11), (Ids{1, 2, 6})) << "two fill the chunk";
  roster_.Start(roster_.FindSequence(1));
  roster_.Start(roster_.FindSequence(2));
  roster_.Start(roster_.FindSequence(3));
  EXPECT_EQ(Waiting(), Ids{});
}

TEST_F(RosterTest, FindsWhatHasExpired) {
  const TimePoint now = world_.clock.Now();
  Add(1, {}, now + std::chrono::seconds(2));
  Add(2, {}, now + std::chrono::seconds(1));
  Add(3);
  EXPECT_EQ(roster_.Expired(now), nullptr);
  EXPECT_EQ(roster_.Expired(now + std::chrono::seconds(1)), roster_.Find(2));
  roster_.Remove(*roster_.Find(2));
  EXPECT_EQ(roster_.Expired(now + std::chrono::seconds(1)), nullptr);
  EXPECT_EQ(roster_.Expired(now + std::chrono::seconds(9)), roster_.Find(1));
}

TEST_F(RosterTest, ForkStartsAsManyChoicesAsMayRun) {
  RequestSpec spec;
  spec.n = 4;
  spec.prompt.assign(9, 0);
  const Roster::Entry first = Add(1, spec);
  const Roster::Entry other = Add(2);
  EXPECT_EQ(other.sequence->id(), 5u) << "ids are kept free for the choices";
  roster_.Start(first);
  first.sequence->Reserve(9, kBlockSize, pool_);
  first.sequence->Advance(9);
  roster_.Fork(*first.request);
  EXPECT_EQ(Running(), (Ids{1, 2, 3}));
  EXPECT_EQ(roster_.FindSequence(2).sequence->computed(), 8);
  EXPECT_EQ(roster_.FindSequence(2).sequence->blocks()[1], first.sequence->blocks()[1]);
  EXPECT_EQ(pool_.free(), 64 - 3);
  EXPECT_EQ(index_.size(), 0) << "nobody else is to find them";
  roster_.Preempt(roster_.FindSequence(3));
  EXPECT_EQ(Waiting(), (Ids{3}));
  roster_.Preempt(roster_.FindSequence(2));
  EXPECT_EQ(Waiting(), (Ids{2, 3}));
  EXPECT_EQ(roster_.FindSequence(4).sequence->computed(), 0);
  EXPECT_EQ(roster_.FindSequence(4).sequence->state(), Sequence::State::kWaiting);
}

TEST_F(RosterTest, ServiceAndNamesFollowTheRequests) {
  RequestSpec spec;
  spec.tenant = 1;
  spec.adapter = 2;
  const Roster::Entry entry = Add(1, spec);
  EXPECT_EQ(roster_.fair_share().tenants()[entry.request->tenant].weight, 2);
  EXPECT_EQ(roster_.adapter_use().Waiting(), "adapter2");
  roster_.Start(entry);
  EXPECT_EQ(roster_.adapter_use().Running(), "adapter2");
  roster_.Remove(*entry.request);
  EXPECT_EQ(roster_.adapter_use().Running(), "");
}

}  // namespace
}  // namespace hydrad
