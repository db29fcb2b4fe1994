#include "server/adapters/store/generations.h"

#include "tests/adapters/store/state_fixture.h"

namespace hydrad {
namespace {

class GenerationsTest : public StateFixture {};
class TriedGenerationsTest : public StateFixture {
 protected:
  TriedGenerationsTest() : StateFixture(/*must_be_tried=*/true) {}
};

TEST_F(GenerationsTest, HoldersShareWhatIsOnTheDevice) {
  const EntryPtr a = Serve("a", Tier::kDevice);
  const auto first = generations_.Hold("a", *a->serving), second = generations_.Hold("a", *a->serving);
  EXPECT_EQ(first, second);
  EXPECT_EQ(first->name, "a");
  EXPECT_EQ(first->generation, a->serving->number);
  generations_.Release(*a->serving);
  EXPECT_NE(a->serving->on_device, nullptr);
  generations_.Release(*a->serving);
  EXPECT_EQ(a->serving->on_device, nullptr);
}

TEST_F(GenerationsTest, ARetiredGenerationGoesWithItsLastHolder) {
  const EntryPtr a = Serve("a", Tier::kDevice);
  const std::shared_ptr<Generation> generation = a->serving;
  generations_.Hold("a", *generation);
  generations_.Retire(*generation);
  EXPECT_EQ(GiveMemoryBack(), 0u);
  generations_.Release(*generation);
  EXPECT_EQ(GiveMemoryBack(), 1u);
  EXPECT_EQ(residency_.device_used(), 0u);
}

TEST_F(GenerationsTest, EntriesAreToldOfMoves) {
  const EntryPtr a = Serve("a", Tier::kDisk);
  residency_.SetWanted(a->serving->components);
  EXPECT_EQ(Do(*residency_.Next()), "read a");
  EXPECT_EQ(a->info.tier, Tier::kHost);
  EXPECT_FALSE(a->ready);
  EXPECT_FALSE(catalogue_.TakeWake());
  EXPECT_EQ(Do(*residency_.Next()), "upload a");
  EXPECT_EQ(a->info.tier, Tier::kDevice);
  EXPECT_EQ(a->info.device_bytes, kBytes);
  EXPECT_TRUE(a->ready);
  EXPECT_TRUE(catalogue_.TakeWake());
}

TEST_F(GenerationsTest, WhatMakesRoomIsToldAsEvicted) {
  const EntryPtr a = Serve("a", Tier::kDevice);
  Serve("b", Tier::kDevice);
  Serve("c", Tier::kDevice);
  const EntryPtr d = Serve("d", Tier::kHost);
  residency_.SetWanted(d->serving->components);
  EXPECT_EQ(Do(*residency_.Next()), "upload d");
  EXPECT_FALSE(a->ready) << "the least recently used one";
  std::vector<std::string> events;
  for (const AdapterEvent& event : catalogue_.TakeEvents()) {
    events.push_back(event.info.name + (event.change == AdapterChange::kEvicted ? " evicted" : " fetched"));
  }
  EXPECT_THAT(events, testing::UnorderedElementsAre("a evicted", "d fetched"));
}

TEST_F(TriedGenerationsTest, RequestsRunOnWhatHasBeenTried) {
  const EntryPtr a = Serve("a", Tier::kDevice), disk = Serve("disk", Tier::kDisk);
  EXPECT_EQ(generations_.BeginTrial(disk), nullptr) << "not on the device";
  EXPECT_FALSE(generations_.MayRun(*a->serving));
  const std::shared_ptr<Generation> tried = generations_.BeginTrial(a);
  ASSERT_EQ(tried, a->serving);
  EXPECT_NE(tried->on_device, nullptr) << "held";
  EXPECT_EQ(generations_.BeginTrial(a), nullptr) << "one at a time";
  generations_.EndTrial(*tried, false);
  generations_.Release(*tried);
  EXPECT_FALSE(generations_.MayRun(*a->serving));
  ASSERT_EQ(generations_.BeginTrial(a), tried) << "a trial that failed may be made again";
  generations_.EndTrial(*tried, true);
  generations_.Release(*tried);
  EXPECT_TRUE(generations_.MayRun(*a->serving));
  EXPECT_EQ(generations_.BeginTrial(a), nullptr) << "once";
}

}  // namespace
}  // namespace hydrad
