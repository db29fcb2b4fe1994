#include "server/adapters/store/byte_cache.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <random>
#include <set>

namespace hydrad {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

// Values are numbers; the fixture hides what a caller has to carry around.
class ByteCacheTest : public testing::Test {
 protected:
  bool Reserve(uint64_t id, uint64_t bytes) {
    evicted_.clear();
    return cache_.Reserve(
        id, bytes, [this](uint64_t e) { return !forbidden_.contains(e); }, &evicted_);
  }
  bool Put(uint64_t id, uint64_t bytes) {
    if (!Reserve(id, bytes)) return false;
    cache_.Fill(id, static_cast<int>(id));
    return true;
  }
  std::vector<uint64_t> Evicted() const {
    std::vector<uint64_t> ids;
    for (const auto& e : evicted_) ids.push_back(e.id);
    return ids;
  }

  ByteCache<int> cache_{100};
  std::set<uint64_t> forbidden_;
  std::vector<ByteCache<int>::Evicted> evicted_;
};

TEST_F(ByteCacheTest, TheLeastRecentlyUsedGoesFirstAndNoMoreThanItTakes) {
  ASSERT_TRUE(Put(1, 40) && Put(2, 40) && Put(3, 20));
  cache_.Hold(1);
  cache_.Release(1);
  EXPECT_TRUE(Put(4, 30));
  EXPECT_THAT(Evicted(), ElementsAre(2));
  EXPECT_EQ(evicted_[0].value, 2);
  EXPECT_EQ(cache_.used(), 90u);
  EXPECT_TRUE(Put(5, 90));
  EXPECT_THAT(Evicted(), ElementsAre(3, 1, 4));
  EXPECT_EQ(cache_.used(), 90u);
}

TEST_F(ByteCacheTest, NothingIsThrownOutInVain) {
  ASSERT_TRUE(Put(1, 40) && Put(2, 40));
  cache_.Hold(2);
  EXPECT_FALSE(Reserve(3, 61));
  EXPECT_FALSE(Reserve(3, 101));
  EXPECT_THAT(Evicted(), IsEmpty());
  EXPECT_EQ(cache_.used(), 80u);
  EXPECT_TRUE(Reserve(3, 60));
  EXPECT_THAT(Evicted(), ElementsAre(1));
}

TEST_F(ByteCacheTest, ReservedPinnedAndForbiddenEntriesStay) {
  ASSERT_TRUE(Reserve(1, 30) && Put(2, 30) && Put(3, 30));
  cache_.Hold(2);
  cache_.Hold(2);
  cache_.Release(2);
  forbidden_ = {3};
  EXPECT_FALSE(Reserve(4, 20));
  forbidden_.clear();
  EXPECT_TRUE(Reserve(4, 20));
  EXPECT_THAT(Evicted(), ElementsAre(3));
  cache_.Release(2);
  EXPECT_TRUE(Reserve(5, 40));
  EXPECT_THAT(Evicted(), ElementsAre(2));
  EXPECT_EQ(cache_.Find(1), nullptr) << "reserved only";
}

TEST_F(ByteCacheTest, ReservationsGrowShrinkAndGoBack) {
  ASSERT_TRUE(Put(1, 50) && Reserve(2, 30));
  const auto all = [](uint64_t) { return true; };
  EXPECT_TRUE(cache_.Resize(2, 40, all, &evicted_));
  EXPECT_THAT(Evicted(), IsEmpty());
  EXPECT_TRUE(cache_.Resize(2, 70, all, &evicted_));
  EXPECT_THAT(Evicted(), ElementsAre(1));
  EXPECT_FALSE(cache_.Resize(2, 101, all, &evicted_));
  EXPECT_TRUE(cache_.Resize(2, 10, all, &evicted_));
  EXPECT_EQ(cache_.used(), 10u);
  cache_.Free(2);
  EXPECT_EQ(cache_.used(), 0u);
  EXPECT_FALSE(cache_.Has(2));
}

TEST_F(ByteCacheTest, WhatIsTakenOutIsChargedUntilItIsFreed) {
  ASSERT_TRUE(Put(1, 100));
  EXPECT_EQ(cache_.Take(1), 1);
  EXPECT_EQ(cache_.Find(1), nullptr);
  EXPECT_FALSE(Reserve(2, 1));
  cache_.Free(1);
  EXPECT_TRUE(Reserve(2, 1));
}

// The caller still holds its values: their memory is not there for others yet.
TEST_F(ByteCacheTest, WhatWasThrownOutIsChargedUntilTheNewEntryIsFilled) {
  ASSERT_TRUE(Put(1, 80) && Reserve(2, 30));
  EXPECT_THAT(Evicted(), ElementsAre(1));
  EXPECT_EQ(cache_.used(), 80u);
  EXPECT_FALSE(Reserve(3, 30));
  cache_.Fill(2, 2);
  EXPECT_EQ(cache_.used(), 30u);
  EXPECT_TRUE(Put(3, 70));
  EXPECT_TRUE(Reserve(4, 1));
  EXPECT_EQ(cache_.used(), 100u);
  cache_.Free(4);
  EXPECT_EQ(cache_.used(), 70u) << "given up, as all that was charged to it";
}

TEST_F(ByteCacheTest, AnEntryMayTakeNothing) {
  ASSERT_TRUE(Put(1, 100) && Put(2, 0));
  EXPECT_EQ(*cache_.Find(2), 2);
  EXPECT_TRUE(Put(3, 100));
  EXPECT_THAT(Evicted(), ElementsAre(1)) << "what gives nothing back stays";
}

TEST(ByteCacheDeathTest, MisuseIsABug) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  ByteCache<int> cache(10);
  std::vector<ByteCache<int>::Evicted> gone;
  const auto all = [](uint64_t) { return true; };
  ASSERT_TRUE(cache.Reserve(1, 5, all, &gone));
  EXPECT_DEATH(cache.Reserve(1, 1, all, &gone), "check failed");
  EXPECT_DEATH(cache.Hold(1), "check failed");
  EXPECT_DEATH(cache.Take(1), "check failed");
  cache.Fill(1, 1);
  EXPECT_DEATH(cache.Fill(1, 1), "check failed");
  EXPECT_DEATH(cache.Release(1), "check failed");
  EXPECT_DEATH(cache.Free(1), "check failed");
}

// Against the plainest model: a list of entries in order of use.
TEST(ByteCache, AgreesWithAModel) {
  for (uint32_t seed = 1; seed <= 200; ++seed) {
    std::mt19937 random(seed);
    ByteCache<int> cache(50);
    struct Entry {
      uint64_t id, bytes;
      int holds;
    };
    std::vector<Entry> model;  // least recently used first
    const auto used = [&] {
      uint64_t sum = 0;
      for (const Entry& e : model) sum += e.bytes;
      return sum;
    };
    for (uint64_t step = 1; step <= 100; ++step) {
      const size_t at = model.empty() ? 0 : random() % model.size();
      const int action = static_cast<int>(random() % 4);
      if (action == 0 || model.empty()) {
        const uint64_t bytes = random() % 30;
        uint64_t gain = 0;
        std::vector<uint64_t> expected;
        for (const Entry& e : model) {
          if (used() - gain + bytes <= 50) break;
          if (e.holds > 0) continue;
          gain += e.bytes;
          expected.push_back(e.id);
        }
        const bool fits = used() - gain + bytes <= 50;
        std::vector<ByteCache<int>::Evicted> gone;
        ASSERT_EQ(cache.Reserve(
                      step, bytes, [](uint64_t) { return true; }, &gone),
                  fits);
        if (!fits) continue;
        cache.Fill(step, 0);
        std::vector<uint64_t> ids;
        for (const auto& e : gone) ids.push_back(e.id);
        ASSERT_EQ(ids, expected);
        std::erase_if(model, [&](const Entry& e) { return std::ranges::count(expected, e.id) > 0; });
        model.push_back({step, bytes, 0});
      } else if (action == 1) {
        cache.Hold(model[at].id);
        ++model[at].holds;
      } else if (action == 2 && model[at].holds > 0) {
        cache.Release(model[at].id);
        if (--model[at].holds == 0) std::rotate(model.begin() + at, model.begin() + at + 1, model.end());
      } else if (action == 3 && model[at].holds == 0) {
        cache.Take(model[at].id);
        cache.Free(model[at].id);
        model.erase(model.begin() + at);
      }
      ASSERT_EQ(cache.used(), used());
    }
  }
}

}  // namespace
}  // namespace hydrad
