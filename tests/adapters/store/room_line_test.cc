// Who goes before whom for room: the rule alone, and random requests of all sizes on a Residency.
#include "server/adapters/store/room_line.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <random>
#include <set>
#include <vector>

#include "server/adapters/store/catalogue.h"  // AdapterEntry

namespace hydrad {
namespace {

using Taken = RoomLine::Taken;

TEST(RoomLine, ThoseBehindGoWhileWhatWasThereIsInTheWay) {
  RoomLine line;
  EXPECT_TRUE(line.MayPass());
  const Taken old = {1, 6, false, true}, passed = {2, 3, false, true};
  line.Waits(9, 5, 10, std::vector{old});
  EXPECT_TRUE(line.MayPass()) << "6 of 10 are in the way of 5";
  line.Waits(9, 5, 10, std::vector{old, passed});
  EXPECT_TRUE(line.MayPass()) << "it could not go without the one that passed either";
  line.Waits(9, 8, 10, std::vector{passed});
  EXPECT_FALSE(line.MayPass()) << "now it could";
  line.Waits(9, 8, 10, std::vector{passed, old});
  EXPECT_FALSE(line.MayPass()) << "and what comes into use again does not change that";
  line.NobodyWaits();
  EXPECT_TRUE(line.MayPass());
}

TEST(RoomLine, WhatMakesRoomIsNotInTheWayAndWhatIsMoreUrgentIs) {
  RoomLine line;
  line.Waits(9, 5, 10, std::vector<Taken>{{1, 8, false, true}});
  line.Waits(9, 5, 10, std::vector<Taken>{{1, 8, true, true}, {2, 8, false, false}});
  EXPECT_TRUE(line.MayPass());
  line.Waits(9, 5, 10, std::vector<Taken>{{1, 8, true, true}});
  EXPECT_FALSE(line.MayPass());
  line.Waits(8, 5, 10, std::vector<Taken>{{1, 8, false, true}});
  EXPECT_TRUE(line.MayPass()) << "another one waits: it begins anew";
}

// Adapters of random sizes, always asked for; those that are large need nearly all of the room. A request
// holds its adapter for a random number of turns; what is drained does not begin again, as the gate has it.
class RoomOfAllSizesTest : public testing::Test {
 protected:
  static constexpr uint64_t kRoom = 100;
  struct Adapter {
    ComponentId component = 0;
    uint64_t bytes = 0;
    int since = -1;  // the turn in which a request began to wait; -1: none does
    int until = -1;  // the turn in which the one that runs ends; -1: none does
    bool drained = false;
  };

  void Begin(uint32_t seed);
  void Turn(int now);
  void Start(Adapter& adapter, int now);
  std::vector<Adapter*> Waiting();
  void CheckNobodyIsHeldUp();
  uint64_t InUse() const;

  std::mt19937 random_;
  std::unique_ptr<Residency> residency_;
  std::shared_ptr<AdapterEntry> owner_ = std::make_shared<AdapterEntry>("a");
  std::vector<Adapter> adapters_;
  Adapter* first_ = nullptr;     // that is blocked
  std::set<Adapter*> before_{};  // in use since it is
  bool turn_ = false;
  Residency::Evicted evicted_;
  int served_large_ = 0, served_ = 0, passed_ = 0;
};

void RoomOfAllSizesTest::Begin(uint32_t seed) {
  random_.seed(seed);
  residency_ = std::make_unique<Residency>(UINT64_MAX, kRoom, 4);
  adapters_.clear();
  first_ = nullptr;
  for (int i = 0; i < 12; ++i) {
    Adapter adapter;
    adapter.bytes = i < 2 ? 70 + random_() % 31 : 5 + random_() % 26;
    adapter.component = residency_->AddKnown(owner_, {"path", "digest", 1, adapter.bytes});
    residency_->Refer(adapter.component);
    adapters_.push_back(adapter);
  }
}

std::vector<RoomOfAllSizesTest::Adapter*> RoomOfAllSizesTest::Waiting() {
  std::vector<Adapter*> waiting;
  for (Adapter& adapter : adapters_) {
    if (adapter.since >= 0) waiting.push_back(&adapter);
  }
  std::ranges::stable_sort(waiting, {}, &Adapter::since);
  return waiting;
}

void RoomOfAllSizesTest::Start(Adapter& adapter, int now) {
  residency_->Hold(adapter.component);
  served_large_ += adapter.bytes >= 70;
  ++served_;
  adapter.until = now + 1 + static_cast<int>(random_() % 20);
  adapter.since = -1;
}

uint64_t RoomOfAllSizesTest::InUse() const {
  uint64_t bytes = 0;
  for (const Adapter& adapter : adapters_) bytes += adapter.until >= 0 ? adapter.bytes : 0;
  return bytes;
}

void RoomOfAllSizesTest::Turn(int now) {
  for (Adapter& adapter : adapters_) {
    if (adapter.until == now) {
      residency_->Release(adapter.component);
      adapter.until = -1;
    }
    if (adapter.since < 0 && adapter.until < 0) adapter.since = now;  // always asked for
  }
  std::vector<ComponentId> wanted;
  for (const Adapter* adapter : Waiting()) wanted.push_back(adapter->component);
  residency_->SetWanted(wanted);
  while (auto work = residency_->Next()) {
    if (work->kind == Residency::Work::Kind::kRead) {
      ASSERT_TRUE(residency_->FillHost(work->component, residency_->info(work->component),
                                       std::make_shared<const HostComponent>(), &evicted_));
    } else {
      residency_->FillDevice(work->component, std::make_shared<const DeviceComponent>());
    }
    residency_->EndWork(work->component);
    ASSERT_LE(residency_->device_used(), kRoom);
  }
  CheckNobodyIsHeldUp();
  // As the gate: when the first has waited for long, what is in use begins no new request.
  const std::vector<Adapter*> waiting = Waiting();
  const auto starves = [&](const Adapter* a) {
    return residency_->blocked().contains(a->component) && now - a->since > 5;
  };
  const auto found = std::ranges::find_if(waiting, starves);
  const bool starving = found != waiting.end();
  for (Adapter& adapter : adapters_) {
    const bool there = residency_->TierOf(adapter.component) == Tier::kDevice;
    const bool later = starving && (adapter.since < 0 || adapter.since > (*found)->since);
    adapter.drained = starving && there && (adapter.until >= 0 || (adapter.drained && later));
  }
  for (Adapter* adapter : waiting) {
    if (!adapter->drained && residency_->TierOf(adapter->component) == Tier::kDevice) Start(*adapter, now);
  }
}

// One that fits is held up by nobody but the first that waits, and only once what was in use when that began
// to wait has left it its room.
void RoomOfAllSizesTest::CheckNobodyIsHeldUp() {
  const std::vector<Adapter*> waiting = Waiting();
  const auto is_blocked = [&](const Adapter* a) { return residency_->blocked().contains(a->component); };
  const auto found = std::ranges::find_if(waiting, is_blocked);
  Adapter* const first = found == waiting.end() ? nullptr : *found;
  if (first != first_) {
    turn_ = false;
    before_.clear();
    for (Adapter& adapter : adapters_) {
      if (adapter.until >= 0) before_.insert(&adapter);
    }
  }
  first_ = first;
  if (first == nullptr) return;
  std::erase_if(before_, [](const Adapter* a) { return a->until < 0; });
  uint64_t before = 0;
  for (const Adapter* adapter : before_) before += adapter->bytes;
  turn_ |= before + first->bytes <= kRoom;
  uint64_t ahead = 0;  // more urgent, and there
  for (const Adapter* adapter : waiting) {
    const bool there = residency_->TierOf(adapter->component) == Tier::kDevice;
    passed_ += there && adapter->since > first->since;
    if (is_blocked(adapter) && InUse() + ahead + adapter->bytes <= kRoom) {
      EXPECT_TRUE(turn_) << "it fits, and is held up";
    }
    if (there) ahead += adapter->bytes;
  }
}

TEST_F(RoomOfAllSizesTest, SmallOnesPassAndLargeOnesGetTheirTurn) {
  for (uint32_t seed = 1; seed <= 150 && !HasFailure(); ++seed) {
    SCOPED_TRACE(seed);
    Begin(seed);
    served_large_ = served_ = 0;
    for (int now = 0; now < 1000 && !HasFatalFailure(); ++now) Turn(now);
    EXPECT_GT(served_large_, 5) << "small ones that never stop coming keep them out";
    EXPECT_GT(served_, served_large_);
  }
  EXPECT_GT(passed_, 1000) << "and those that fit go first while they cannot";
}

}  // namespace
}  // namespace hydrad
