#include "server/kv/block_pool.h"

#include <gtest/gtest.h>

#include <set>

namespace hydrad {
namespace {

TEST(BlockPool, HandsOutEveryIdOnceAndNoMore) {
  BlockPool pool(3);
  std::vector<Block> held;
  std::set<int32_t> ids;
  while (auto block = pool.Allocate()) {
    ids.insert(block->id());
    held.push_back(*std::move(block));
  }
  EXPECT_EQ(ids, (std::set<int32_t>{0, 1, 2}));
  EXPECT_EQ(pool.free(), 0);
  EXPECT_EQ(pool.total(), 3);
  held.clear();
  EXPECT_EQ(pool.free(), 3);
}

TEST(BlockPool, DestructionGivesABlockBack) {
  BlockPool pool(1);
  int32_t id;
  {
    const auto block = pool.Allocate();
    ASSERT_TRUE(block.has_value());
    id = block->id();
    EXPECT_FALSE(pool.Allocate().has_value());
  }
  EXPECT_EQ(pool.Allocate()->id(), id);
}

TEST(BlockPool, AMovedBlockIsGivenBackOnce) {
  BlockPool pool(2);
  {
    auto first = pool.Allocate();
    Block second(*std::move(first));
    first.reset();
    EXPECT_EQ(pool.free(), 1);
  }
  EXPECT_EQ(pool.free(), 2);
}

TEST(BlockPool, AssignmentGivesBackWhatWasHeldAtOnce) {
  BlockPool pool(2);
  auto first = pool.Allocate();
  auto second = pool.Allocate();
  const int32_t kept = second->id();
  *first = *std::move(second);
  EXPECT_EQ(pool.free(), 1);
  EXPECT_EQ(first->id(), kept);
  Block& same = *first;
  *first = std::move(same);
  EXPECT_EQ(pool.free(), 1);
}

TEST(BlockPool, MayBeEmpty) { EXPECT_FALSE(BlockPool(0).Allocate().has_value()); }

}  // namespace
}  // namespace hydrad
