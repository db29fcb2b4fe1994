#include "server/rpc/adapter_page.h"

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

std::vector<std::string> NamesOf(const v1::ListAdaptersResponse& page) {
  std::vector<std::string> names;
  for (const v1::Adapter& adapter : page.adapters()) names.push_back(adapter.name());
  return names;
}

v1::ListAdaptersRequest Ask(int size, const std::string& token = "") {
  v1::ListAdaptersRequest request;
  request.set_page_size(size);
  request.set_page_token(token);
  return request;
}

TEST(AdapterPageTest, PagesFollowEachOther) {
  const auto all = Named({"a", "b", "c", "d", "e"});
  const auto first = PageOf(all, Ask(2));
  EXPECT_THAT(NamesOf(first), ElementsAre("a", "b"));
  const auto second = PageOf(all, Ask(2, first.next_page_token()));
  EXPECT_THAT(NamesOf(second), ElementsAre("c", "d"));
  const auto third = PageOf(all, Ask(2, second.next_page_token()));
  EXPECT_THAT(NamesOf(third), ElementsAre("e"));
  EXPECT_EQ(third.next_page_token(), "");
}

TEST(AdapterPageTest, AFullLastPageHasNoNext) {
  const auto page = PageOf(Named({"a", "b"}), Ask(2));
  EXPECT_THAT(NamesOf(page), ElementsAre("a", "b"));
  EXPECT_EQ(page.next_page_token(), "");
}

TEST(AdapterPageTest, NamesThatComeOrGoDoNotDisturbTheOrder) {
  const auto first = PageOf(Named({"a", "b", "c", "d"}), Ask(2));
  EXPECT_THAT(NamesOf(PageOf(Named({"a", "aa", "c", "d"}), Ask(2, first.next_page_token()))),
              ElementsAre("c", "d"));
}

TEST(AdapterPageTest, NothingToList) {
  EXPECT_THAT(NamesOf(PageOf({}, Ask(0))), IsEmpty());
  EXPECT_THAT(NamesOf(PageOf(Named({"a"}), Ask(0, "z"))), IsEmpty());
}

TEST(AdapterPageTest, TheDefaultSizeIsAThousand) {
  std::vector<std::string> names;
  for (int i = 0; i < 1001; ++i) names.push_back(fmt::format("{:04}", i));
  const auto page = PageOf(Named(names), Ask(0));
  EXPECT_EQ(page.adapters_size(), 1000);
  EXPECT_EQ(page.next_page_token(), "0999");
}

}  // namespace
}  // namespace hydrad
