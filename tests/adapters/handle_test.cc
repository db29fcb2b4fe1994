#include "server/adapters/handle.h"

#include <gtest/gtest.h>

#include <type_traits>

#include "server/base/status.h"
#include "tests/fakes/fake_claim.h"

namespace hydrad {
namespace {

TEST(AdapterHandle, EmptyIsTheBaseModel) {
  const AdapterHandle handle;
  EXPECT_FALSE(handle);
  EXPECT_EQ(handle.device(), nullptr);
  EXPECT_EQ(handle.generation(), 0);
  EXPECT_EQ(handle.name(), "");
  EXPECT_TRUE(handle.bound());
  EXPECT_TRUE(handle.status().ok());
}

TEST(AdapterHandle, KeepsItsGenerationUntilItGoes) {
  auto generation = std::make_shared<AdapterGeneration>();
  generation->name = "medical";
  generation->generation = 7;
  const std::weak_ptr<AdapterGeneration> watched = generation;
  AdapterHandle handle = HandleOn(std::move(generation));
  EXPECT_TRUE(handle);
  EXPECT_EQ(handle.name(), "medical");
  EXPECT_TRUE(handle.Bind());
  EXPECT_EQ(handle.generation(), 7);

  AdapterHandle moved = std::move(handle);
  EXPECT_FALSE(handle);
  EXPECT_FALSE(watched.expired());
  moved = AdapterHandle();
  EXPECT_TRUE(watched.expired());
}

TEST(AdapterHandle, BindsWhenItsAdapterIsThereAndStaysBound) {
  FakeStored stored{.name = "medical", .generation = 7};
  AdapterHandle handle = stored.Handle();
  EXPECT_TRUE(handle);
  EXPECT_EQ(handle.name(), "medical");
  EXPECT_FALSE(handle.bound());
  EXPECT_FALSE(handle.ready());
  EXPECT_FALSE(handle.Bind());
  stored.ready = true;
  EXPECT_TRUE(handle.ready());
  EXPECT_TRUE(handle.Bind());
  stored.ready = false;
  stored.generation = 8;
  EXPECT_TRUE(handle.ready());
  EXPECT_TRUE(handle.Bind());
  EXPECT_EQ(handle.generation(), 7);
  EXPECT_EQ(stored.binds, 1);
  stored.status = Aborted("gone");
  EXPECT_EQ(handle.status(), Aborted("gone")) << "a bound request can be ended too";
}

TEST(AdapterHandle, BindsAnewAfterItWasUnbound) {
  FakeStored stored{.name = "medical", .generation = 7, .invocation = {1}, .ready = true};
  AdapterHandle handle = stored.Handle();
  ASSERT_TRUE(handle.Bind());
  handle.Unbind();
  EXPECT_FALSE(handle.bound());
  stored.generation = 8;
  stored.invocation = {2, 3};
  ASSERT_TRUE(handle.Bind());
  EXPECT_EQ(handle.generation(), 8);
  EXPECT_EQ(handle.invocation().size(), 2u);
}

// What it would answer might be no more than a guess at what will serve.
TEST(AdapterHandleDeathTest, TellsNothingOfAGenerationBeforeItIsBound) {
  FakeStored stored{.name = "medical", .ready = true};
  const AdapterHandle handle = stored.Handle();
  EXPECT_DEATH(handle.device(), "check failed");
  EXPECT_DEATH(handle.mixture(), "check failed");
  EXPECT_DEATH(handle.weights(), "check failed");
  EXPECT_DEATH(handle.generation(), "check failed");
  EXPECT_DEATH(handle.traits(), "check failed");
  EXPECT_DEATH(handle.invocation(), "check failed");
}

TEST(AdapterHandle, IsMoveOnly) {
  static_assert(!std::is_copy_constructible_v<AdapterHandle> && !std::is_copy_assignable_v<AdapterHandle>);
  static_assert(std::is_nothrow_move_constructible_v<AdapterHandle>);
}

}  // namespace
}  // namespace hydrad
