#include "server/adapters/store/registry.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>

namespace hydrad {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

std::vector<std::string> States(Registry& registry) {
  std::vector<std::string> states;
  for (const AdapterEvent& event : registry.TakeEvents()) {
    states.push_back(fmt::format("{} {}", Name(event.info.state), event.info.generation));
  }
  return states;
}
// Publishes the load that is under way; returns what served before.
std::shared_ptr<Generation> Publish(Registry& registry, AdapterEntry& entry) {
  auto generation = std::make_shared<Generation>();
  generation->number = registry.NextGeneration();
  AdapterInfo info;
  info.path = "path";
  return registry.Publish(entry, std::move(generation), std::move(info));
}
Registry::EntryPtr LoadA(Registry& registry) {
  Registry::EntryPtr entry = registry.BeginLoad("a", "path");
  Publish(registry, *entry);
  return entry;
}

TEST(Registry, LifeOfAName) {
  Registry registry(10);
  const auto entry = registry.BeginLoad("a", "path");
  EXPECT_EQ(registry.Get("a")->state, AdapterState::kLoading);
  EXPECT_EQ(Publish(registry, *entry), nullptr);
  ClaimState claim;
  entry->claims.insert(&claim);
  EXPECT_EQ(registry.Get("a")->handles, 1);
  EXPECT_EQ(*registry.Serving("a"), entry);
  EXPECT_FALSE(registry.BeginUnload(*entry));
  EXPECT_EQ(registry.Serving("a").status(), Unavailable("adapter 'a' is unloading"));
  entry->claims.clear();
  registry.Gone(*entry);
  EXPECT_EQ(registry.Find("a"), nullptr);
  EXPECT_THAT(States(registry), ElementsAre("loading 0", "available 1", "unloading 1", "unloaded 1"));
}

TEST(Registry, ReplaceStaysAvailable) {
  Registry registry(10);
  const auto entry = LoadA(registry);
  registry.BeginLoad("a", "other");
  EXPECT_EQ(registry.Get("a")->state, AdapterState::kAvailable);
  EXPECT_EQ(registry.Get("a")->path, "path") << "of what serves";
  EXPECT_EQ(entry->serving->number, 1u);
  const auto before = Publish(registry, *entry);
  EXPECT_EQ(before->number, 1u);
  EXPECT_FALSE(before->serving);
  EXPECT_EQ(entry->serving->number, 2u);
  EXPECT_THAT(States(registry), ElementsAre("loading 0", "available 1", "available 2"));
}

TEST(Registry, FailedLoadKeepsTheReasonAndMayBeTriedAgain) {
  Registry registry(10);
  const auto entry = registry.BeginLoad("a", "path");
  registry.FailLoad(*entry, InvalidArgument("broken"), 2.5);
  EXPECT_EQ(registry.Get("a")->error, InvalidArgument("broken"));
  EXPECT_EQ(registry.Get("a")->load_seconds, 2.5);
  EXPECT_EQ(registry.Serving("a").status(), FailedPrecondition("adapter 'a' failed to load: broken"));
  registry.BeginLoad("a", "path");
  EXPECT_TRUE(registry.Get("a")->error.ok());
  registry.FailLoad(*entry, InvalidArgument("broken"), 1);
  EXPECT_TRUE(registry.BeginUnload(*entry)) << "gone at once";
  EXPECT_THAT(States(registry), ElementsAre("loading 0", "failed 0", "loading 0", "failed 0", "unloaded 0"));
}

TEST(Registry, WhatServesMayTurnOutToBeLost) {
  Registry registry(10);
  const auto entry = LoadA(registry);
  EXPECT_EQ(registry.FailServing(*entry, Internal("disk"), false), nullptr);
  EXPECT_EQ(registry.Get("a")->state, AdapterState::kAvailable);
  EXPECT_EQ(registry.Get("a")->error, Internal("disk"));
  const auto lost = registry.FailServing(*entry, FailedPrecondition("changed"), true);
  EXPECT_EQ(lost->number, 1u);
  EXPECT_FALSE(lost->serving);
  EXPECT_EQ(registry.Get("a")->state, AdapterState::kFailed);
  registry.BeginLoad("a", "path");
  EXPECT_EQ(Publish(registry, *entry), nullptr);
  EXPECT_EQ(registry.Get("a")->generation, 2u);
}

TEST(Registry, WhatServesMayBeLostWhileItIsReplaced) {
  for (const bool works : {true, false}) {
    Registry registry(10);
    const auto entry = LoadA(registry);
    registry.BeginLoad("a", "other");
    ASSERT_NE(registry.FailServing(*entry, FailedPrecondition("changed"), true), nullptr);
    EXPECT_EQ(registry.Get("a")->state, AdapterState::kLoading) << "the replace is a first load now";
    if (works) {
      Publish(registry, *entry);
    } else {
      registry.FailLoad(*entry, Internal("x"), 1);
    }
    EXPECT_EQ(registry.Get("a")->state, works ? AdapterState::kAvailable : AdapterState::kFailed);
  }
}

TEST(Registry, ConflictsAreAborted) {
  Registry registry(10);
  EXPECT_EQ(registry.MayChange("a").code(), absl::StatusCode::kNotFound);
  const auto entry = registry.BeginLoad("a", "path");
  EXPECT_EQ(registry.MayLoad("a"), Aborted("adapter 'a' is being loaded or changed"));
  EXPECT_EQ(registry.MayChange("a"), Aborted("adapter 'a' is being loaded or changed"));
  EXPECT_EQ(registry.Serving("a").status(), Unavailable("adapter 'a' is loading"));
  Publish(registry, *entry);
  EXPECT_TRUE(registry.MayLoad("a").ok());
  registry.BeginUnload(*entry);
  EXPECT_EQ(registry.MayLoad("a"), Aborted("adapter 'a' is being unloaded"));
  EXPECT_EQ(registry.MayChange("a"), Aborted("adapter 'a' is being unloaded"));
}

TEST(Registry, NumberOfNamesIsBounded) {
  Registry registry(2);
  registry.BeginLoad("a", "path");
  const auto b = registry.BeginLoad("b", "path");
  EXPECT_EQ(registry.MayLoad("c"), ResourceExhausted("there are 2 adapters, which is the limit"));
  registry.FailLoad(*b, Internal("x"), 0);
  EXPECT_TRUE(registry.MayLoad("b").ok());
  EXPECT_FALSE(registry.MayLoad("c").ok()) << "a failed name is one too";
}

TEST(Registry, ANameThatComesBackIsAnotherEntry) {
  Registry registry(10);
  const auto first = LoadA(registry);
  registry.BeginUnload(*first);
  registry.Gone(*first);
  const auto second = LoadA(registry);
  EXPECT_NE(first, second);
  EXPECT_EQ(second->serving->number, 2u);
  EXPECT_EQ(registry.Find("a"), second);
}

TEST(Registry, ClearForgetsEverythingInSilence) {
  Registry registry(10);
  LoadA(registry);
  registry.TakeEvents();
  registry.Clear();
  EXPECT_THAT(registry.List(), IsEmpty());
  EXPECT_THAT(registry.TakeEvents(), IsEmpty());
}

TEST(RegistryDeathTest, IllegalMovesAreBugs) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  Registry registry(10);
  const auto entry = LoadA(registry);
  EXPECT_DEATH(Publish(registry, *entry), "check failed") << "no load is under way";
  EXPECT_DEATH(registry.FailLoad(*entry, Internal("x"), 0), "check failed");
  EXPECT_DEATH(registry.Gone(*entry), "check failed");
  registry.BeginLoad("a", "path");
  EXPECT_DEATH(registry.BeginLoad("a", "path"), "check failed");
}

}  // namespace
}  // namespace hydrad
