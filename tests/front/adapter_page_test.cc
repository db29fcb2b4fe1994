#include "server/front/adapter_page.h"

#include <fmt/core.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace hydrad {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

std::vector<AdapterInfo> Named(const std::vector<std::string>& names) {
  std::vector<AdapterInfo> infos;
  for (const std::string& name : names) infos.emplace_back().name = name;
  return infos;
}

std::vector<std::string> NamesOf(const AdapterPage& page) {
  std::vector<std::string> names;
  for (const AdapterInfo& adapter : page.adapters) names.push_back(adapter.name);
  return names;
}

ListCall Ask(int size, const std::string& token = "") { return {.page_size = size, .page_token = token}; }

TEST(AdapterPageTest, PagesFollowEachOther) {
  const auto all = Named({"a", "b", "c", "d", "e"});
  const auto first = PageOf(all, Ask(2));
  EXPECT_THAT(NamesOf(first), ElementsAre("a", "b"));
  const auto second = PageOf(all, Ask(2, first.next));
  EXPECT_THAT(NamesOf(second), ElementsAre("c", "d"));
  const auto third = PageOf(all, Ask(2, second.next));
  EXPECT_THAT(NamesOf(third), ElementsAre("e"));
  EXPECT_EQ(third.next, "");
}

TEST(AdapterPageTest, AFullLastPageHasNoNext) {
  const auto page = PageOf(Named({"a", "b"}), Ask(2));
  EXPECT_THAT(NamesOf(page), ElementsAre("a", "b"));
  EXPECT_EQ(page.next, "");
}

TEST(AdapterPageTest, NamesThatComeOrGoDoNotDisturbTheOrder) {
  const auto first = PageOf(Named({"a", "b", "c", "d"}), Ask(2));
  EXPECT_THAT(NamesOf(PageOf(Named({"a", "aa", "c", "d"}), Ask(2, first.next))), ElementsAre("c", "d"));
}

TEST(AdapterPageTest, NothingToList) {
  EXPECT_THAT(NamesOf(PageOf({}, Ask(0))), IsEmpty());
  EXPECT_THAT(NamesOf(PageOf(Named({"a"}), Ask(0, "z"))), IsEmpty());
}

TEST(AdapterPageTest, TheDefaultSizeIsAThousand) {
  std::vector<std::string> names;
  for (int i = 0; i < 1001; ++i) names.push_back(fmt::format("{:04}", i));
  const auto page = PageOf(Named(names), Ask(0));
  EXPECT_EQ(page.adapters.size(), 1000u);
  EXPECT_EQ(page.next, "0999");
}

}  // namespace
}  // namespace hydrad
