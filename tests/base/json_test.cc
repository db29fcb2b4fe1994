#include "server/base/json.h"

#include <gtest/gtest.h>

#include <string>

namespace hydrad {
namespace {

std::string Error(std::string_view text) { return std::string(ParseJson(text).status().message()); }

TEST(ParseJson, KeepsTheOrderOfKeys) {
  const auto json = ParseJson(R"({"z": 1, "a": {"y": [1.5, true, null]}})");
  ASSERT_TRUE(json.ok()) << json.status();
  EXPECT_EQ(json->dump(), R"({"z":1,"a":{"y":[1.5,true,null]}})");
}

TEST(ParseJson, NamesTheByteOfASyntaxError) {
  EXPECT_EQ(Error(R"({"a": })"), "is not JSON at byte 7");
  EXPECT_EQ(Error(""), "is not JSON at byte 1");
  EXPECT_EQ(Error("{} {}"), "is not JSON at byte 4");
  EXPECT_EQ(Error("{\"\xff\": 1}"), "is not JSON at byte 3");
}

TEST(ParseJson, RefusesWhatParsersDisagreeOn) {
  EXPECT_EQ(Error(R"({"a": 1, "b": {"a": 2}, "a": 3})"), "has the key 'a' twice");
  EXPECT_EQ(Error("1e999"), "is not JSON: a number is out of range");
  EXPECT_EQ(Error(std::string_view("{}\0x", 4)), "is not JSON: it holds a NUL byte");
}

TEST(ParseJson, SaysWhatAFileIsInstead) {
  EXPECT_EQ(Error("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"),
            "is a git-lfs pointer, not the file itself: fetch it with 'git lfs pull'");
}

TEST(Field, IsNullWhereThereIsNone) {
  const Json object = *ParseJson(R"({"a": 1, "b": null})");
  EXPECT_EQ(Field(object, "a"), 1);
  EXPECT_TRUE(Field(object, "b").is_null());
  EXPECT_TRUE(Field(object, "c").is_null());
}

TEST(ParseJson, RefusesDeepNesting) {
  EXPECT_TRUE(ParseJson(std::string(30, '[') + std::string(30, ']')).ok());
  EXPECT_EQ(Error(std::string(100'000, '[')), "is nested too deeply");
}

}  // namespace
}  // namespace hydrad
