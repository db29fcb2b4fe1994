#include "server/base/foreign_content.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace hydrad {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

TEST(ForeignContent, KnowsWhatPeopleFindInstead) {
  const std::pair<const char*, const char*> kCases[] = {
      {"version https://git-lfs.github.com/spec/v1\noid sha256:12\nsize 3\n", "git lfs pull"},
      {"<!DOCTYPE html><html><body>Access denied</body></html>", "HTML page"},
      {"\n \t<HTML>", "HTML page"},
      {"\xef\xbb\xbf<?xml version='1.0'?><Error><Code>NoSuchKey</Code></Error>", "page"},
      {"GGUF\x03", "hydrad-tools model import"},
      {"PK\x03\x04", "safetensors"},
      {"\x80\x02\x8a\x0al\xfc\x9c\x46", "pickle"},
      {"\x93NUMPY", "NumPy"},
  };
  for (const auto& [bytes, what] : kCases) EXPECT_THAT(std::string(ForeignContent(bytes)), HasSubstr(what));
}

// A header's length may begin with the bytes of another format.
TEST(ForeignContent, LeavesJsonAndSafetensorsAlone) {
  for (const std::string& length : {std::string("PK\x03\x04\0\0\0\0", 8), std::string("<html\0\0\0", 8),
                                    std::string("\x80\x02\0\0\0\0\0\0", 8)}) {
    EXPECT_THAT(std::string(ForeignContent(length + "{\"a\":1}")), IsEmpty());
  }
  for (const char* text :
       {"", "{", "{}", "{\"version\": 1}", " [1]", "null", "plain text", "versions of it"}) {
    EXPECT_THAT(std::string(ForeignContent(text)), IsEmpty()) << text;
  }
}

}  // namespace
}  // namespace hydrad
