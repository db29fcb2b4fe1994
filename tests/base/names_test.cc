#include "server/base/names.h"

#include <gtest/gtest.h>

#include <string>

namespace hydrad {
namespace {

TEST(Names, AdaptersAreNamedAsModelsAre) {
  for (const std::string& name :
       {std::string("a"), std::string("A-b_c.9"), std::string("-"), std::string("org/support-bot"),
        std::string("org/support-bot@v2"), std::string("llama:sql"), std::string("a+b"), std::string("a/b/c"),
        std::string("a..b"), std::string(256, 'x')}) {
    EXPECT_TRUE(IsAdapterName(name)) << name;
  }
  for (const std::string& name :
       {std::string(""), std::string("."), std::string(".."), std::string(".a"), std::string("/"),
        std::string("/etc"), std::string("a/"), std::string("a//b"), std::string("a/../b"),
        std::string("a/.b"), std::string("a "), std::string("a b"), std::string("a\nb"),
        std::string("a\0", 2), std::string("a,b"), std::string("a=b"), std::string("a*"),
        std::string("caf\u00e9"), std::string(257, 'x')}) {
    EXPECT_FALSE(IsAdapterName(name)) << name;
  }
}

TEST(Names, PatternsAreNamesOrTheirBeginnings) {
  for (const char* pattern : {"a", "*", "acme-*", "acme/*", "acme/bot@*", "llama:*"}) {
    EXPECT_TRUE(IsAdapterPattern(pattern)) << pattern;
  }
  for (const char* pattern : {"", ".*", "/*", "a//*", "../*", "a*b", "a**", "a b*"}) {
    EXPECT_FALSE(IsAdapterPattern(pattern)) << pattern;
  }
}

TEST(Names, TenantsHaveNoSlashes) {
  EXPECT_TRUE(IsTenantName("A-b_c.9"));
  EXPECT_TRUE(IsTenantName(std::string(128, 'x')));
  for (const std::string& name :
       {std::string(""), std::string(".a"), std::string("a/b"), std::string("a:b"), std::string(129, 'x')}) {
    EXPECT_FALSE(IsTenantName(name)) << name;
  }
}

}  // namespace
}  // namespace hydrad
