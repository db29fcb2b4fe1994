#include "server/text/tokenizer/token_table.h"

#include <gtest/gtest.h>

#include <map>
#include <random>

namespace hydrad {
namespace {

TEST(TokenTable, FindsWhatWasInserted) {
  TokenTable table(1000);
  for (int i = 0; i < 1000; ++i) table.Insert("token" + std::to_string(i), i);
  for (int i = 0; i < 1000; ++i) EXPECT_EQ(table.Find("token" + std::to_string(i)), i);
  EXPECT_EQ(table.Find("token"), -1);
  EXPECT_EQ(table.Find("token1000"), -1);
  EXPECT_EQ(table.Find(""), -1);
}

TEST(TokenTable, HoldsTheEmptyTextAndZeroBytes) {
  TokenTable table(2);
  table.Insert("", 7);
  table.Insert(std::string_view("a\0b", 3), 8);
  EXPECT_EQ(table.Find(""), 7);
  EXPECT_EQ(table.Find(std::string_view("a\0b", 3)), 8);
  EXPECT_EQ(table.Find("a"), -1);
}

TEST(TokenTable, AnEmptyTableFindsNothing) {
  EXPECT_EQ(TokenTable().Find("a"), -1);
  EXPECT_EQ(MergeTable().Find(0, 0).rank, UINT32_MAX);
}

TEST(MergeTable, AgreesWithAMap) {
  std::mt19937 random(3);
  std::map<std::pair<int, int>, uint32_t> expected;
  MergeTable table(5000);
  for (uint32_t rank = 0; rank < 5000; ++rank) {
    const int left = static_cast<int>(random() % 300), right = static_cast<int>(random() % 300);
    expected[{left, right}] = rank;  // a later one replaces
    table.Set(left, right, {rank, static_cast<int32_t>(rank) + 1});
  }
  for (int left = 0; left < 300; ++left) {
    for (int right = 0; right < 300; ++right) {
      const auto it = expected.find({left, right});
      const Merge merge = table.Find(left, right);
      ASSERT_EQ(merge.rank, it == expected.end() ? UINT32_MAX : it->second);
      ASSERT_EQ(merge.id, it == expected.end() ? -1 : static_cast<int32_t>(it->second) + 1);
    }
  }
}

}  // namespace
}  // namespace hydrad
