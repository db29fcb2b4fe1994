#include "server/http/http_message.h"

#include <gtest/gtest.h>

namespace hydrad {
namespace {

TEST(RequestNameTest, OnlyWhatMayStandInALogIsTold) {
  EXPECT_TRUE(IsRequestName("req-1"));
  EXPECT_TRUE(IsRequestName("3f:!~"));
  EXPECT_TRUE(IsRequestName(std::string(128, 'x')));
  for (const std::string& name :
       {std::string(), std::string(129, 'x'), std::string("a b"), std::string("a\nb"), std::string("a\"b"),
        std::string("a\\b"), std::string("\xc3\xa9"), std::string("a\0b", 3)}) {
    EXPECT_FALSE(IsRequestName(name)) << name;
  }
}

TEST(UnescapedTest, Table) {
  EXPECT_EQ(Unescaped("org%2Fbot%40v2"), "org/bot@v2");
  EXPECT_EQ(Unescaped("plain"), "plain");
  EXPECT_EQ(Unescaped("%c3%A9"), "\xc3\xa9");
  EXPECT_EQ(Unescaped("50%"), "50%") << "broken";
  EXPECT_EQ(Unescaped("a%2"), "a%2");
  EXPECT_EQ(Unescaped("a%zzb"), "a%zzb");
  EXPECT_EQ(Unescaped("a%2-b%2F"), "a%2-b%2F");
}

}  // namespace
}  // namespace hydrad
