#include "server/kv/block_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace hydrad {
namespace {

using testing::ElementsAre;

TEST(BlockTable, GrowsByWhatIsLackingAndGivesAllBackByDestruction) {
  BlockPool pool(4);
  {
    BlockTable table;
    EXPECT_TRUE(table.GrowTo(2, pool));
    EXPECT_TRUE(table.GrowTo(1, pool));
    EXPECT_THAT(table.ids(), ElementsAre(0, 1));
    EXPECT_TRUE(table.GrowTo(3, pool));
    EXPECT_THAT(table.ids(), ElementsAre(0, 1, 2));
    EXPECT_EQ(table.exclusive(), 3);
    EXPECT_EQ(pool.free(), 1);
  }
  EXPECT_EQ(pool.free(), 4);
}

TEST(BlockTable, KeepsWhatItGotOfAPoolThatIsEmpty) {
  BlockPool pool(3);
  BlockTable first, second;
  EXPECT_TRUE(first.GrowTo(1, pool));
  EXPECT_FALSE(second.GrowTo(3, pool));
  EXPECT_EQ(second.size(), 2);
  first.Clear();
  EXPECT_TRUE(second.GrowTo(3, pool));
  EXPECT_THAT(second.ids(), ElementsAre(1, 2, 0));
}

TEST(BlockTable, AMovedTableIsGivenBackOnce) {
  BlockPool pool(4);
  BlockTable first;
  ASSERT_TRUE(first.GrowTo(2, pool));
  {
    BlockTable second(std::move(first));
    EXPECT_EQ(first.size(), 0);
    EXPECT_THAT(second.ids(), ElementsAre(0, 1));
    ASSERT_TRUE(first.GrowTo(1, pool));
    first = std::move(second);
    EXPECT_THAT(first.ids(), ElementsAre(0, 1));
    EXPECT_EQ(pool.free(), 2) << "what it held before came back at once";
    BlockTable& same = first;
    first = std::move(same);
    EXPECT_EQ(first.size(), 2);
  }
  EXPECT_EQ(pool.free(), 2);
}

TEST(BlockTable, MayServeAnotherPoolOnceItIsEmpty) {
  BlockPool pool(1), other(1);
  BlockTable table;
  ASSERT_TRUE(table.GrowTo(1, pool));
  table.Clear();
  ASSERT_TRUE(table.GrowTo(1, other));
  EXPECT_EQ(pool.free(), 1);
  EXPECT_EQ(other.free(), 0);
}

TEST(BlockTableDeathTest, HasBlocksOfOnePool) {
  BlockPool pool(1), other(1);
  BlockTable table;
  ASSERT_TRUE(table.GrowTo(1, pool));
  EXPECT_DEATH(table.GrowTo(2, other), "pool_");
}

}  // namespace
}  // namespace hydrad
