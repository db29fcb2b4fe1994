#include "server/scheduler/start_gate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <optional>

#include "tests/fakes/fake_claim.h"

namespace hydrad {
namespace {

using std::chrono::seconds;
using testing::ElementsAre;

constexpr AdapterDemand Running(int use) { return {.running = 1, .in_use = seconds(use), .ready = true}; }
constexpr AdapterDemand Starving(int waited) {
  return {.waiting = 1, .waited = seconds(waited), .blocked = true, .place = 0};
}

struct DrainCase {
  const char* name;
  std::vector<AdapterDemand> adapters;
  std::vector<bool> draining;
};

TEST(ChooseDraining, Table) {
  AdapterDemand kept = Running(9), loading = Starving(9), fresh = Running(0);
  kept.kept = true;
  loading.blocked = false;
  AdapterDemand later = Starving(2);
  later.place = 1;
  AdapterDemand ending = Running(1), ended = Starving(0), gone = Starving(0);
  ending.draining = ended.draining = gone.draining = true;
  ended.ready = true;
  ended.place = 1;
  AdapterDemand urgent = ended;
  urgent.place = 0;
  ended.blocked = false;
  const std::vector<DrainCase> cases = {
      {"nothing", {}, {}},
      {"nobody waits", {Running(9), Running(8)}, {false, false}},
      {"one has waited too long: the longest in use goes",
       {Running(7), Running(9), Starving(2)},
       {false, true, false}},
      {"patience first", {Running(9), Starving(1)}, {false, false}},
      {"two for two",
       {Running(7), Running(9), Running(8), Starving(2), Starving(3)},
       {false, true, true, false, false}},
      {"no more than there are", {Running(9), Starving(2), Starving(3)}, {true, false, false}},
      {"a load under way makes its own room", {Running(9), loading}, {false, false}},
      {"what is pinned makes none", {kept, Running(5), Starving(2)}, {false, true, false}},
      {"who has just begun goes on", {fresh, Starving(2)}, {false, false}},
      {"one ends before the next", {ending, Running(9), Starving(2)}, {true, false, false}},
      {"and does not begin again meanwhile", {ended, Running(9), Starving(2)}, {true, true, false}},
      {"unless it is more urgent", {urgent, Running(9), later}, {false, true, false}},
      {"but when nobody starves", {ended, Running(9)}, {false, false}},
      {"who has made room waits as any other", {gone, Running(9), Starving(2)}, {false, true, false}},
  };
  for (const DrainCase& c : cases) EXPECT_EQ(ChooseDraining(c.adapters, seconds(1)), c.draining) << c.name;
}

class AdapterGateTest : public testing::Test {
 protected:
  AdapterGateTest() : gate_([this](const auto& names) { told_.push_back(names); }, seconds(1)) {}

  // One step, with requests of these adapters that run and that wait since the beginning of time.
  void Look(const std::vector<const AdapterHandle*>& running,
            const std::vector<const AdapterHandle*>& waiting) {
    gate_.Begin(now_);
    for (const AdapterHandle* handle : running) gate_.AddRunning(*handle);
    for (const AdapterHandle* handle : waiting) gate_.AddWaiting(*handle, TimePoint{});
    gate_.Decide();
  }

  TimePoint now_{};
  std::vector<std::vector<std::string>> told_;
  StartGate gate_;
  FakeStored a_{.name = "a", .ready = true}, b_{.name = "b"};
};

TEST_F(AdapterGateTest, TheBaseModelAndBoundRequestsMayStart) {
  AdapterHandle base, bound = a_.Handle();
  ASSERT_TRUE(bound.Bind());
  Look({}, {});
  EXPECT_TRUE(gate_.MayStart(base));
  EXPECT_TRUE(gate_.MayStart(bound));
}

TEST_F(AdapterGateTest, TellsWhatIsWantedInOrderAndOnce) {
  const AdapterHandle a = a_.Handle(), b = b_.Handle(), b2 = b_.Handle();
  Look({}, {&b, &a, &b2});
  Look({}, {&b, &a});
  EXPECT_THAT(told_, ElementsAre(ElementsAre("b", "a")));
  EXPECT_TRUE(gate_.MayStart(a));
  EXPECT_FALSE(gate_.MayStart(b));
  b_.ready = true;
  EXPECT_TRUE(gate_.MayStart(b2));
  Look({}, {});
  EXPECT_EQ(told_.size(), 2u);
  EXPECT_TRUE(told_.back().empty());
}

TEST_F(AdapterGateTest, AnAdapterThatIsAlwaysAskedForTakesTurns) {
  AdapterHandle running = a_.Handle();
  ASSERT_TRUE(running.Bind());
  const AdapterHandle more = a_.Handle(), other = b_.Handle();
  b_.blocked = true;
  Look({&running}, {&other, &more});
  EXPECT_TRUE(gate_.MayStart(more)) << "it is only now that it is in use";
  now_ += seconds(2);
  Look({&running}, {&other, &more});
  EXPECT_FALSE(gate_.MayStart(more));
  b_.blocked = false;  // there is room for it now
  Look({&running}, {&other, &more});
  EXPECT_TRUE(gate_.MayStart(more));
}

// What needs the room of two that are always asked for.
TEST_F(AdapterGateTest, RoomIsGathered) {
  FakeStored c{.name = "c", .ready = true};
  AdapterHandle runs = a_.Handle();
  std::optional<AdapterHandle> longer = c.Handle();
  ASSERT_TRUE(runs.Bind());
  ASSERT_TRUE(longer->Bind());
  const AdapterHandle more_a = a_.Handle(), more_c = c.Handle(), large = b_.Handle();
  b_.blocked = true;
  Look({&*longer}, {&large});
  now_ += seconds(1);
  Look({&*longer, &runs}, {&large});
  now_ += seconds(2);
  Look({&*longer, &runs}, {&large, &more_a, &more_c});
  EXPECT_FALSE(gate_.MayStart(more_c)) << "the longest in use first";
  EXPECT_TRUE(gate_.MayStart(more_a));
  longer.reset();
  Look({&runs}, {&large, &more_a});  // nobody asks for c just now
  EXPECT_FALSE(gate_.MayStart(more_a)) << "then the next";
  Look({&runs}, {&large, &more_a, &more_c});
  EXPECT_FALSE(gate_.MayStart(more_c)) << "which has made room";
  b_.blocked = false;
  Look({&runs}, {&large, &more_a, &more_c});
  EXPECT_TRUE(gate_.MayStart(more_a));
  EXPECT_TRUE(gate_.MayStart(more_c));
}

TEST_F(AdapterGateTest, UseBeginsAnewAfterABreak) {
  AdapterHandle running = a_.Handle();
  ASSERT_TRUE(running.Bind());
  const AdapterHandle more = a_.Handle(), other = b_.Handle();
  Look({&running}, {});
  now_ += seconds(2);
  Look({}, {});
  b_.blocked = true;
  Look({&running}, {&other, &more});
  EXPECT_TRUE(gate_.MayStart(more));
}

}  // namespace
}  // namespace hydrad
