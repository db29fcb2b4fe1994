#include "server/kv/block_pool.h"

#include <gtest/gtest.h>

#include <set>

namespace hydrad {
namespace {

TEST(BlockPool, HandsOutEveryIdOnceAndNoMore) {
  BlockPool pool(3);
  std::set<int32_t> ids;
  while (const auto block = pool.Take()) ids.insert(*block);
  EXPECT_EQ(ids, (std::set<int32_t>{0, 1, 2}));
  EXPECT_EQ(pool.free(), 0);
  EXPECT_EQ(pool.total(), 3);
  for (const int32_t id : ids) pool.Unref(id);
  EXPECT_EQ(pool.free(), 3);
}

TEST(BlockPool, MayBeEmpty) { EXPECT_FALSE(BlockPool(0).Take().has_value()); }

TEST(BlockPool, ABlockIsFreeWhenItsLastReferenceGoes) {
  BlockPool pool(1);
  const int32_t block = *pool.Take();
  pool.Ref(block);
  EXPECT_EQ(pool.refs(block), 2);
  pool.Unref(block);
  EXPECT_EQ(pool.free(), 0);
  EXPECT_FALSE(pool.Take().has_value());
  pool.Unref(block);
  EXPECT_EQ(pool.free(), 1);
  EXPECT_EQ(pool.Take(), block);
}

class CachingPool : public testing::Test {
 protected:
  // Blocks that become free in this order.
  void TakeAndCache(int blocks) {
    for (int i = 0; i < blocks; ++i) pool_.SetCached(*pool_.Take(), true);
    for (int i = 0; i < blocks; ++i) pool_.Unref(i);
  }
  std::vector<int32_t> Order() const {
    std::vector<int32_t> order;
    for (int32_t block = pool_.oldest(); block >= 0; block = pool_.NewerThan(block)) order.push_back(block);
    return order;
  }

  BlockPool pool_{4};
  std::vector<int32_t> reclaimed_;
  CachingPool() {
    pool_.OnReclaim([this](int32_t block) { reclaimed_.push_back(block); });
  }
};

TEST_F(CachingPool, ReclaimsWhatHasBeenFreeForTheLongestWhenNothingElseIsFree) {
  TakeAndCache(3);
  EXPECT_EQ(pool_.free(), 4);
  EXPECT_EQ(Order(), (std::vector<int32_t>{0, 1, 2}));
  EXPECT_EQ(pool_.Take(), 3) << "not cached";
  EXPECT_TRUE(reclaimed_.empty());
  EXPECT_EQ(pool_.Take(), 0);
  EXPECT_EQ(pool_.Take(), 1);
  EXPECT_EQ(reclaimed_, (std::vector<int32_t>{0, 1}));
  EXPECT_FALSE(pool_.cached(0));
  EXPECT_TRUE(pool_.cached(2));
  EXPECT_EQ(pool_.free(), 1);
}

TEST_F(CachingPool, WhatIsHeldAgainIsNotReclaimedAndIsTheNewestAfterwards) {
  TakeAndCache(3);
  pool_.Ref(0);
  EXPECT_EQ(pool_.free(), 3);
  EXPECT_EQ(Order(), (std::vector<int32_t>{1, 2}));
  pool_.Unref(0);
  EXPECT_EQ(Order(), (std::vector<int32_t>{1, 2, 0}));
}

TEST_F(CachingPool, ABlockThatIsNotCachedAnyMoreIsAFreeBlockAsOthers) {
  TakeAndCache(3);
  pool_.SetCached(1, false);
  EXPECT_EQ(pool_.free(), 4);
  EXPECT_EQ(Order(), (std::vector<int32_t>{0, 2}));
  EXPECT_EQ(pool_.Take(), 1);
  pool_.SetCached(1, true);
  pool_.SetCached(1, false);  // while it is held
  pool_.Unref(1);
  EXPECT_EQ(pool_.Take(), 1);
  EXPECT_TRUE(reclaimed_.empty());
}

TEST(BlockPoolDeathTest, CountsOfProgramsThatGiveBackTwiceAreNotTrusted) {
  BlockPool pool(2);
  const int32_t block = *pool.Take();
  pool.Unref(block);
  EXPECT_DEATH(pool.Unref(block), "refs > 0");
  EXPECT_DEATH(pool.Ref(block), "cached");
}

}  // namespace
}  // namespace hydrad
