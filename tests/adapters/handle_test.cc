#include "server/adapters/handle.h"

#include <gtest/gtest.h>

#include <type_traits>

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
  AdapterHandle handle(std::move(generation));
  EXPECT_TRUE(handle);
  EXPECT_EQ(handle.name(), "medical");
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
  EXPECT_EQ(handle.generation(), 0);
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

TEST(AdapterHandle, IsMoveOnly) {
  static_assert(!std::is_copy_constructible_v<AdapterHandle> && !std::is_copy_assignable_v<AdapterHandle>);
  static_assert(std::is_nothrow_move_constructible_v<AdapterHandle>);
}

}  // namespace
}  // namespace hydrad
