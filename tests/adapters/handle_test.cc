#include "server/adapters/handle.h"

#include <gtest/gtest.h>

#include <type_traits>

namespace hydrad {
namespace {

TEST(AdapterHandle, EmptyIsTheBaseModel) {
  const AdapterHandle handle;
  EXPECT_FALSE(handle);
  EXPECT_EQ(handle.device(), nullptr);
  EXPECT_EQ(handle.generation(), 0);
  EXPECT_EQ(handle.name(), "");
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

TEST(AdapterHandle, IsMoveOnly) {
  static_assert(!std::is_copy_constructible_v<AdapterHandle> && !std::is_copy_assignable_v<AdapterHandle>);
  static_assert(std::is_nothrow_move_constructible_v<AdapterHandle>);
}

}  // namespace
}  // namespace hydrad
