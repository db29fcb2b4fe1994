#include "server/kv/prefix_index.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

namespace hydrad {
namespace {

using testing::ElementsAre;

using Tokens = std::vector<int32_t>;

constexpr int kBlockSize = 2;

class PrefixIndexTest : public testing::Test {
 protected:
  // A table that has computed `tokens`, which are then known.
  BlockTable Computed(PrefixIndex::Namespace ns, const Tokens& tokens) {
    BlockTable table;
    index_.Hold(ns, tokens, table);
    EXPECT_TRUE(table.GrowTo((static_cast<int>(tokens.size()) + kBlockSize - 1) / kBlockSize, pool_));
    index_.Insert(ns, tokens, table);
    EXPECT_TRUE(index_.Check().ok()) << index_.Check();
    return table;
  }

  BlockPool pool_{6};
  PrefixIndex index_{kBlockSize, pool_, HashKey()};
};

TEST_F(PrefixIndexTest, FindsTheLongestKnownPrefixInFullBlocks) {
  const BlockTable table = Computed(1, {1, 2, 3, 4, 5});
  EXPECT_EQ(index_.size(), 2) << "the third block is not full";
  EXPECT_EQ(index_.Match(1, Tokens{1, 2, 3, 4, 5, 6}), 2);
  EXPECT_EQ(index_.Match(1, Tokens{1, 2, 3, 4}), 2);
  EXPECT_EQ(index_.Match(1, Tokens{1, 2, 3}), 1);
  EXPECT_EQ(index_.Match(1, Tokens{1, 2, 3, 5}), 1);
  EXPECT_EQ(index_.Match(1, Tokens{1}), 0);
  EXPECT_EQ(index_.Match(1, Tokens{}), 0);
  EXPECT_EQ(index_.Match(1, Tokens{3, 4}), 0) << "the same tokens at another place";
  EXPECT_EQ(index_.Match(2, Tokens{1, 2, 3, 4}), 0) << "another namespace";
}

TEST_F(PrefixIndexTest, HoldersShareBlocksAndEachIsGivenBackWithItsLast) {
  BlockTable first = Computed(1, {1, 2, 3, 4, 5});
  {
    BlockTable second;
    EXPECT_EQ(index_.Hold(1, Tokens{1, 2, 3, 4, 7, 8}, second), 2);
    EXPECT_THAT(second.ids(), ElementsAre(first.ids()[0], first.ids()[1]));
    EXPECT_EQ(second.exclusive(), 0);
    EXPECT_EQ(first.exclusive(), 1);
    ASSERT_TRUE(second.GrowTo(3, pool_));
    EXPECT_EQ(second.exclusive(), 1);
    EXPECT_EQ(pool_.free(), 2);
    EXPECT_EQ(first.shareable(), 2);
    EXPECT_EQ(second.shareable(), 2);
    BlockTable third;
    EXPECT_EQ(index_.Hold(1, Tokens{1, 2, 3, 4}, third), 2);
    first.Clear();
    EXPECT_EQ(first.shareable(), 0);
    EXPECT_EQ(first.exclusive(), 0);
    EXPECT_EQ(second.exclusive(), 1) << "the third one holds the rest";
    third.Clear();
    EXPECT_EQ(second.exclusive(), 3);
    EXPECT_EQ(pool_.free(), 3);
  }
  EXPECT_EQ(pool_.free(), 6);
  EXPECT_EQ(index_.Match(1, Tokens{1, 2, 3, 4}), 2) << "nobody holds it, and nobody has needed the room";
}

TEST_F(PrefixIndexTest, AChainIsReclaimedFromItsEnd) {
  Computed(1, {1, 2, 3, 4, 5, 6});
  BlockTable other;
  ASSERT_TRUE(other.GrowTo(3, pool_));
  EXPECT_EQ(index_.Match(1, Tokens{1, 2, 3, 4, 5, 6}), 3);
  for (int left = 2; left >= 0; --left) {
    ASSERT_TRUE(other.GrowTo(6 - left, pool_));
    EXPECT_EQ(index_.Match(1, Tokens{1, 2, 3, 4, 5, 6}), left);
    EXPECT_EQ(index_.size(), left);
    EXPECT_TRUE(index_.Check().ok()) << index_.Check();
  }
  EXPECT_FALSE(other.GrowTo(7, pool_));
}

TEST_F(PrefixIndexTest, ReclaimsWhatWasUsedLeastRecently) {
  Computed(1, {1, 2});
  Computed(1, {3, 4});
  BlockTable table;
  EXPECT_EQ(index_.Match(1, Tokens{1, 2}), 1) << "to look is not to use";
  ASSERT_TRUE(table.GrowTo(5, pool_));
  EXPECT_EQ(index_.Match(1, Tokens{1, 2}), 0);
  table.Clear();
  Computed(1, {5, 6});
  { const BlockTable used = Computed(1, {3, 4}); }
  ASSERT_TRUE(table.GrowTo(5, pool_));
  EXPECT_EQ(index_.Match(1, Tokens{3, 4}), 1);
  EXPECT_EQ(index_.Match(1, Tokens{5, 6}), 0);
}

// Two that have computed the same at the same time end up with the same blocks.
TEST_F(PrefixIndexTest, WhatIsKnownAlreadyTakesThePlaceOfTheSame) {
  const BlockTable first = Computed(1, {1, 2, 3, 4});
  BlockTable second;
  ASSERT_TRUE(second.GrowTo(4, pool_));
  const int32_t third = second.ids()[2], last = second.ids()[3];
  index_.Insert(1, Tokens{1, 2, 3, 4, 5, 6}, second);
  EXPECT_THAT(second.ids(), ElementsAre(first.ids()[0], first.ids()[1], third, last));
  EXPECT_EQ(second.exclusive(), 2);
  EXPECT_EQ(pool_.free(), 2);
  EXPECT_EQ(index_.size(), 3);
  EXPECT_TRUE(index_.Check().ok()) << index_.Check();
}

TEST_F(PrefixIndexTest, AnEvictedNamespaceIsUnknownAndItsHoldersKeepTheirBlocks) {
  const BlockTable held = Computed(1, {1, 2, 3, 4});
  Computed(1, {1, 2, 7, 8});
  Computed(2, {1, 2});
  EXPECT_EQ(index_.size(), 4);
  index_.Evict(1);
  EXPECT_EQ(index_.size(), 1);
  EXPECT_EQ(index_.Match(1, Tokens{1, 2, 3, 4}), 0);
  EXPECT_EQ(index_.Match(2, Tokens{1, 2}), 1);
  EXPECT_EQ(held.exclusive(), 2);
  EXPECT_EQ(pool_.free(), 4);
  EXPECT_TRUE(index_.Check().ok()) << index_.Check();
  index_.Evict(1);
  index_.Evict(3);
  EXPECT_EQ(index_.size(), 1);
}

// So that the caller may write on behind what it found: the last block is never somebody else's.
TEST_F(PrefixIndexTest, KnowsNothingOfABlockThatIsNotFull) {
  const BlockTable first = Computed(1, {1, 2, 3});
  BlockTable second;
  EXPECT_EQ(index_.Hold(1, Tokens{1, 2, 3}, second), 1);
}

TEST_F(PrefixIndexTest, AnEmptyPoolHasAnEmptyIndex) {
  BlockPool none(0);
  PrefixIndex index(kBlockSize, none);
  BlockTable table;
  EXPECT_EQ(index.Hold(1, Tokens{1, 2}, table), 0);
  index.Insert(1, Tokens{1}, table);
  EXPECT_EQ(index.size(), 0);
  EXPECT_TRUE(index.Check().ok());
}

TEST_F(PrefixIndexTest, TheCheckSeesAChainThatIsNotHeldFromItsBeginning) {
  const BlockTable table = Computed(1, {1, 2, 3, 4});
  pool_.Ref(table.ids()[1]);
  EXPECT_EQ(index_.Check().code(), absl::StatusCode::kInternal);
  pool_.Unref(table.ids()[1]);
  EXPECT_TRUE(index_.Check().ok());
}

TEST_F(PrefixIndexTest, TheCheckSeesBlocksThatWouldBeReclaimedInTheWrongOrder) {
  BlockTable table = Computed(1, {1, 2, 3, 4});
  const int32_t first = table.ids()[0], second = table.ids()[1];
  table.Clear();
  EXPECT_TRUE(index_.Check().ok());
  pool_.Ref(second);
  pool_.Unref(second);
  EXPECT_EQ(index_.Check().code(), absl::StatusCode::kInternal) << first << " is the older one now";
}

TEST_F(PrefixIndexTest, TheCheckSeesABlockThatIsNotCached) {
  const BlockTable table = Computed(1, {1, 2});
  pool_.SetCached(table.ids()[0], false);
  EXPECT_EQ(index_.Check().code(), absl::StatusCode::kInternal);
  pool_.SetCached(table.ids()[0], true);
  EXPECT_TRUE(index_.Check().ok());
}

TEST(PrefixIndexDeathTest, ATableIsInOneNamespace) {
  BlockPool pool(2);
  PrefixIndex index(kBlockSize, pool);
  BlockTable table;
  ASSERT_TRUE(table.GrowTo(1, pool));
  index.Insert(1, Tokens{1, 2}, table);
  EXPECT_DEATH(index.Insert(2, Tokens{1, 2}, table), "cached");
}

}  // namespace
}  // namespace hydrad
