#include "server/adapters/store/catalogue.h"

#include <fmt/core.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>

#include "server/base/invalid_argument.h"
#include "server/base/status.h"

namespace hydrad {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

std::vector<std::string> States(Catalogue& catalogue) {
  std::vector<std::string> states;
  for (const AdapterEvent& event : catalogue.TakeEvents()) {
    states.push_back(fmt::format("{} {}", Name(event.info.state), event.info.generation));
  }
  return states;
}
// Publishes the load that is under way; returns what served before.
std::shared_ptr<Generation> Publish(Catalogue& catalogue, AdapterEntry& entry) {
  auto generation = std::make_shared<Generation>();
  generation->number = catalogue.NextGeneration();
  AdapterInfo info;
  info.path = "path";
  return catalogue.Publish(entry, std::move(generation), std::move(info));
}
Catalogue::EntryPtr LoadA(Catalogue& catalogue) {
  Catalogue::EntryPtr entry = catalogue.BeginLoad("a", "path");
  Publish(catalogue, *entry);
  return entry;
}

TEST(Catalogue, LifeOfAName) {
  Catalogue catalogue(10);
  const auto entry = catalogue.BeginLoad("a", "path");
  EXPECT_EQ(catalogue.Get("a")->state, AdapterState::kLoading);
  EXPECT_EQ(Publish(catalogue, *entry), nullptr);
  ClaimState claim;
  entry->claims.insert(&claim);
  EXPECT_EQ(catalogue.Get("a")->handles, 1);
  EXPECT_EQ(*catalogue.Serving("a"), entry);
  EXPECT_FALSE(catalogue.BeginUnload(*entry));
  EXPECT_EQ(catalogue.Serving("a").status(), Unavailable("adapter 'a' is unloading"));
  entry->claims.clear();
  catalogue.Gone(*entry);
  EXPECT_EQ(catalogue.Find("a"), nullptr);
  EXPECT_THAT(States(catalogue), ElementsAre("loading 0", "available 1", "unloading 1", "unloaded 1"));
}

TEST(Catalogue, ReplaceStaysAvailable) {
  Catalogue catalogue(10);
  const auto entry = LoadA(catalogue);
  catalogue.BeginLoad("a", "other");
  EXPECT_EQ(catalogue.Get("a")->state, AdapterState::kAvailable);
  EXPECT_EQ(catalogue.Get("a")->path, "path") << "of what serves";
  EXPECT_EQ(entry->serving->number, 1u);
  const auto before = Publish(catalogue, *entry);
  EXPECT_EQ(before->number, 1u);
  EXPECT_FALSE(before->serving);
  EXPECT_EQ(entry->serving->number, 2u);
  EXPECT_THAT(States(catalogue), ElementsAre("loading 0", "available 1", "available 2"));
}

TEST(Catalogue, FailedLoadKeepsTheReasonAndMayBeTriedAgain) {
  Catalogue catalogue(10);
  const auto entry = catalogue.BeginLoad("a", "path");
  catalogue.FailLoad(*entry, InvalidArgument("broken"), 2.5);
  EXPECT_EQ(catalogue.Get("a")->error, InvalidArgument("broken"));
  EXPECT_EQ(catalogue.Get("a")->load_seconds, 2.5);
  EXPECT_EQ(catalogue.Serving("a").status(), FailedPrecondition("adapter 'a' failed to load: broken"));
  catalogue.BeginLoad("a", "path");
  EXPECT_TRUE(catalogue.Get("a")->error.ok());
  catalogue.FailLoad(*entry, InvalidArgument("broken"), 1);
  EXPECT_TRUE(catalogue.BeginUnload(*entry)) << "gone at once";
  EXPECT_THAT(States(catalogue), ElementsAre("loading 0", "failed 0", "loading 0", "failed 0", "unloaded 0"));
}

TEST(Catalogue, WhatServesMayTurnOutToBeLost) {
  Catalogue catalogue(10);
  const auto entry = LoadA(catalogue);
  EXPECT_EQ(catalogue.FailServing(*entry, Internal("disk"), false), nullptr);
  EXPECT_EQ(catalogue.Get("a")->state, AdapterState::kAvailable);
  EXPECT_EQ(catalogue.Get("a")->error, Internal("disk"));
  const auto lost = catalogue.FailServing(*entry, FailedPrecondition("changed"), true);
  EXPECT_EQ(lost->number, 1u);
  EXPECT_FALSE(lost->serving);
  EXPECT_EQ(catalogue.Get("a")->state, AdapterState::kFailed);
  catalogue.BeginLoad("a", "path");
  EXPECT_EQ(Publish(catalogue, *entry), nullptr);
  EXPECT_EQ(catalogue.Get("a")->generation, 2u);
}

TEST(Catalogue, WhatServesMayBeLostWhileItIsReplaced) {
  for (const bool works : {true, false}) {
    Catalogue catalogue(10);
    const auto entry = LoadA(catalogue);
    catalogue.BeginLoad("a", "other");
    ASSERT_NE(catalogue.FailServing(*entry, FailedPrecondition("changed"), true), nullptr);
    EXPECT_EQ(catalogue.Get("a")->state, AdapterState::kLoading) << "the replace is a first load now";
    if (works) {
      Publish(catalogue, *entry);
    } else {
      catalogue.FailLoad(*entry, Internal("x"), 1);
    }
    EXPECT_EQ(catalogue.Get("a")->state, works ? AdapterState::kAvailable : AdapterState::kFailed);
  }
}

TEST(Catalogue, ConflictsAreAborted) {
  Catalogue catalogue(10);
  EXPECT_EQ(catalogue.MayChange("a").code(), absl::StatusCode::kNotFound);
  const auto entry = catalogue.BeginLoad("a", "path");
  EXPECT_EQ(catalogue.MayLoad("a"), Aborted("adapter 'a' is being loaded or changed"));
  EXPECT_EQ(catalogue.MayChange("a"), Aborted("adapter 'a' is being loaded or changed"));
  EXPECT_EQ(catalogue.Serving("a").status(), Unavailable("adapter 'a' is loading"));
  Publish(catalogue, *entry);
  EXPECT_TRUE(catalogue.MayLoad("a").ok());
  catalogue.BeginUnload(*entry);
  EXPECT_EQ(catalogue.MayLoad("a"), Aborted("adapter 'a' is being unloaded"));
  EXPECT_EQ(catalogue.MayChange("a"), Aborted("adapter 'a' is being unloaded"));
}

TEST(Catalogue, NumberOfNamesIsBounded) {
  Catalogue catalogue(2);
  catalogue.BeginLoad("a", "path");
  const auto b = catalogue.BeginLoad("b", "path");
  EXPECT_EQ(catalogue.MayLoad("c"), ResourceExhausted("there are 2 adapters, which is the limit"));
  catalogue.FailLoad(*b, Internal("x"), 0);
  EXPECT_TRUE(catalogue.MayLoad("b").ok());
  EXPECT_FALSE(catalogue.MayLoad("c").ok()) << "a failed name is one too";
}

TEST(Catalogue, ANameThatComesBackIsAnotherEntry) {
  Catalogue catalogue(10);
  const auto first = LoadA(catalogue);
  catalogue.BeginUnload(*first);
  catalogue.Gone(*first);
  const auto second = LoadA(catalogue);
  EXPECT_NE(first, second);
  EXPECT_EQ(second->serving->number, 2u);
  EXPECT_EQ(catalogue.Find("a"), second);
}

TEST(Catalogue, ClearForgetsEverythingInSilence) {
  Catalogue catalogue(10);
  LoadA(catalogue);
  catalogue.TakeEvents();
  catalogue.Clear();
  EXPECT_THAT(catalogue.List(), IsEmpty());
  EXPECT_THAT(catalogue.TakeEvents(), IsEmpty());
}

TEST(CatalogueDeathTest, IllegalMovesAreBugs) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  Catalogue catalogue(10);
  const auto entry = LoadA(catalogue);
  EXPECT_DEATH(Publish(catalogue, *entry), "check failed") << "no load is under way";
  EXPECT_DEATH(catalogue.FailLoad(*entry, Internal("x"), 0), "check failed");
  EXPECT_DEATH(catalogue.Gone(*entry), "check failed");
  catalogue.BeginLoad("a", "path");
  EXPECT_DEATH(catalogue.BeginLoad("a", "path"), "check failed");
}

}  // namespace
}  // namespace hydrad
