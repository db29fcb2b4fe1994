#include "server/adapters/registry.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>

namespace hydrad {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

Registry::Pin Generation(uint64_t number) {
  auto generation = std::make_shared<AdapterGeneration>();
  generation->name = "a";
  generation->generation = number;
  return generation;
}
std::vector<std::string> States(Registry& registry) {
  std::vector<std::string> states;
  for (const AdapterInfo& info : registry.TakeEvents()) {
    states.push_back(fmt::format("{} {}", Name(info.state), info.generation));
  }
  return states;
}
void LoadA(Registry& registry, uint64_t number) {
  registry.BeginLoad("a", "path");
  AdapterInfo info;
  info.path = "path";
  registry.Publish("a", Generation(number), info);
}

TEST(CheckAdapterName, IsStrict) {
  for (const std::string& name :
       {std::string("a"), std::string("A-b_c.9"), std::string("-"), std::string(128, 'x')}) {
    EXPECT_TRUE(CheckAdapterName(name).ok()) << name;
  }
  for (const std::string& name : {std::string(""), std::string("."), std::string(".a"), std::string("a/b"),
                                  std::string("a "), std::string("a\0", 2), std::string(129, 'x')}) {
    EXPECT_FALSE(CheckAdapterName(name).ok()) << name;
  }
}

TEST(Registry, LifeOfAName) {
  Registry registry(10);
  registry.BeginLoad("a", "path");
  EXPECT_EQ(registry.Get("a")->state, AdapterState::kLoading);
  EXPECT_EQ(registry.Publish("a", Generation(1), {}), nullptr);
  Registry::Pin handle = *registry.Acquire("a");
  EXPECT_EQ(registry.Get("a")->handles, 1);
  auto unload = registry.BeginUnload("a");
  ASSERT_TRUE(unload.ok());
  EXPECT_FALSE(unload->gone);
  const std::weak_ptr<const AdapterGeneration> generation = unload->pin;
  unload->pin.reset();
  EXPECT_FALSE(generation.expired()) << "a handle keeps it";
  handle.reset();
  EXPECT_TRUE(generation.expired());
  EXPECT_EQ(registry.Get("a")->handles, 0);
  const auto gone = registry.GenerationGone("a", 1);
  ASSERT_TRUE(gone);
  EXPECT_EQ(gone->state, AdapterState::kUnloaded);
  EXPECT_FALSE(registry.Get("a").ok());
  EXPECT_THAT(States(registry), ElementsAre("loading 0", "available 1", "unloading 1", "unloaded 1"));
}

TEST(Registry, ReplaceStaysAvailable) {
  Registry registry(10);
  LoadA(registry, 1);
  registry.BeginLoad("a", "other");
  EXPECT_EQ(registry.Get("a")->state, AdapterState::kAvailable);
  EXPECT_EQ(registry.Get("a")->path, "path") << "of what serves";
  EXPECT_EQ((*registry.Acquire("a"))->generation, 1);
  const Registry::Pin before = registry.Publish("a", Generation(2), {});
  EXPECT_EQ(before->generation, 1);
  EXPECT_EQ((*registry.Acquire("a"))->generation, 2);
  EXPECT_FALSE(registry.GenerationGone("a", 1));
  EXPECT_THAT(States(registry), ElementsAre("loading 0", "available 1", "available 2"));
}

TEST(Registry, UnloadEndsWithTheLastOfSeveralGenerations) {
  Registry registry(10);
  LoadA(registry, 1);
  registry.BeginLoad("a", "other");
  const Registry::Pin before = registry.Publish("a", Generation(2), {});
  ASSERT_TRUE(registry.BeginUnload("a").ok());
  EXPECT_FALSE(registry.GenerationGone("a", 2));
  EXPECT_TRUE(registry.GenerationGone("a", 1));
  EXPECT_THAT(registry.List(), IsEmpty());
}

TEST(Registry, FailedLoadKeepsTheReasonAndMayBeTriedAgain) {
  Registry registry(10);
  registry.BeginLoad("a", "path");
  registry.FailLoad("a", InvalidArgument("broken"), 2.5);
  EXPECT_EQ(registry.Get("a")->error, InvalidArgument("broken"));
  EXPECT_EQ(registry.Get("a")->load_seconds, 2.5);
  EXPECT_EQ(registry.Acquire("a").status(), FailedPrecondition("adapter 'a' failed to load: broken"));
  registry.BeginLoad("a", "path");
  EXPECT_TRUE(registry.Get("a")->error.ok());
  registry.FailLoad("a", InvalidArgument("broken"), 1);
  const auto unload = registry.BeginUnload("a");
  EXPECT_EQ(unload->pin, nullptr);
  EXPECT_EQ(unload->gone->state, AdapterState::kUnloaded);
  EXPECT_THAT(States(registry), ElementsAre("loading 0", "failed 0", "loading 0", "failed 0", "unloaded 0"));
}

TEST(Registry, ConflictsAreAborted) {
  Registry registry(10);
  EXPECT_EQ(registry.BeginUnload("a").status().code(), absl::StatusCode::kNotFound);
  registry.BeginLoad("a", "path");
  EXPECT_EQ(registry.MayLoad("a"), Aborted("adapter 'a' is being loaded"));
  EXPECT_EQ(registry.BeginUnload("a").status(), Aborted("adapter 'a' is being loaded"));
  EXPECT_EQ(registry.Acquire("a").status(), Unavailable("adapter 'a' is loading"));
  registry.Publish("a", Generation(1), {});
  EXPECT_TRUE(registry.MayLoad("a").ok());
  const auto unload = registry.BeginUnload("a");
  EXPECT_EQ(registry.MayLoad("a"), Aborted("adapter 'a' is being unloaded"));
  EXPECT_EQ(registry.BeginUnload("a").status(), Aborted("adapter 'a' is being unloaded"));
  EXPECT_EQ(registry.Acquire("a").status(), Unavailable("adapter 'a' is unloading"));
}

TEST(Registry, NumberOfNamesIsBounded) {
  Registry registry(2);
  registry.BeginLoad("a", "path");
  registry.BeginLoad("b", "path");
  EXPECT_EQ(registry.MayLoad("c"), ResourceExhausted("there are 2 adapters, which is the limit"));
  registry.FailLoad("b", Internal("x"), 0);
  EXPECT_TRUE(registry.MayLoad("b").ok());
  EXPECT_FALSE(registry.MayLoad("c").ok()) << "a failed name is one too";
}

TEST(Registry, HandlesOfOldGenerationsCount) {
  Registry registry(10);
  LoadA(registry, 1);
  const Registry::Pin old = *registry.Acquire("a");
  registry.BeginLoad("a", "other");
  const Registry::Pin before = registry.Publish("a", Generation(2), {});
  const Registry::Pin fresh = *registry.Acquire("a");
  EXPECT_EQ(registry.Get("a")->handles, 2);
}

TEST(Registry, ClearForgetsEverythingInSilence) {
  Registry registry(10);
  LoadA(registry, 1);
  registry.BeginLoad("b", "path");
  registry.TakeEvents();
  EXPECT_EQ(registry.Clear().size(), 1);
  EXPECT_THAT(registry.List(), IsEmpty());
  EXPECT_THAT(registry.TakeEvents(), IsEmpty());
  EXPECT_FALSE(registry.GenerationGone("a", 1));
}

TEST(RegistryDeathTest, IllegalMovesAreBugs) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  Registry registry(10);
  EXPECT_DEATH(registry.Publish("a", Generation(1), {}), "check failed");
  EXPECT_DEATH(registry.FailLoad("a", Internal("x"), 0), "check failed");
  LoadA(registry, 2);
  registry.BeginLoad("a", "path");
  EXPECT_DEATH(registry.BeginLoad("a", "path"), "check failed");
  EXPECT_DEATH(registry.Publish("a", Generation(2), {}), "check failed") << "generations ascend";
  EXPECT_DEATH(registry.GenerationGone("a", 1), "check failed");
}

}  // namespace
}  // namespace hydrad
