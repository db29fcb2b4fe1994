#include "server/text/tokenizer/regex_escape.h"

#include <gtest/gtest.h>

#include "tests/text/fixture.h"

namespace hydrad {
namespace {

// The escape at the front of the pattern; everything behind it must be "!".
RegexEscape Read(std::string_view pattern) {
  RegexCursor cursor{pattern};
  const auto escape = ReadRegexEscape(&cursor);
  EXPECT_TRUE(escape.ok()) << escape.status();
  EXPECT_TRUE(cursor.Peek("!")) << pattern;
  return escape.value_or(RegexEscape{});
}

std::string ErrorOf(std::string_view pattern) {
  RegexCursor cursor{pattern};
  return Message(ReadRegexEscape(&cursor).status());
}

TEST(RegexEscape, Characters) {
  const std::pair<std::string, uint32_t> cases[] = {
      {"\\t!", 9},          {"\\n!", 10},
      {"\\r!", 13},         {"\\f!", 12},
      {"\\v!", 11},         {"\\a!", 7},
      {"\\e!", 27},         {"\\x4!", 4},
      {"\\x41!", 'A'},      {"\\x{e9}!", 0xe9},
      {"\\u20ac!", 0x20ac}, {"\\\\!", '\\'},
      {"\\-!", '-'},        {"\\x{1f600}!", 0x1f600},
  };
  for (const auto& [pattern, c] : cases) {
    const RegexEscape escape = Read(pattern);
    EXPECT_EQ(escape.kind, RegexEscape::kChar) << pattern;
    EXPECT_EQ(escape.c, c) << pattern;
  }
}

TEST(RegexEscape, Sets) {
  EXPECT_EQ(Read("\\h!").text, "0-9A-Fa-f");
  EXPECT_FALSE(Read("\\h!").negated);
  EXPECT_TRUE(Read("\\H!").negated);
  EXPECT_FALSE(Read("\\H!").complement.empty());
  EXPECT_TRUE(Read("\\W!").complement.empty());
  EXPECT_TRUE(Read("\\s!").closed_under_case);
  EXPECT_TRUE(Read("\\p{Lu}!").text.starts_with("\\p{Lu}"));
  EXPECT_TRUE(Read("\\P{L}!").negated);
  EXPECT_TRUE(Read("\\p{^L}!").negated);
  EXPECT_FALSE(Read("\\P{^L}!").negated);
}

TEST(RegexEscape, Anchors) {
  EXPECT_EQ(Read("\\Z!").kind, RegexEscape::kAnchor);
  EXPECT_EQ(Read("\\Z!").text, "\\Z");
}

TEST(RegexEscape, ErrorsNameThePlace) {
  EXPECT_EQ(ErrorOf("\\"), "regular expression, byte 1: \\ at the end");
  EXPECT_EQ(ErrorOf("\\q"), "regular expression, byte 2: '\\q' is not supported");
  EXPECT_EQ(ErrorOf("\\é"), "regular expression, byte 3: '\\é' is not supported");
  EXPECT_EQ(ErrorOf("\\0"), "regular expression, byte 2: '\\0' is not supported");
  EXPECT_EQ(ErrorOf("\\p{Lx}"), "regular expression, byte 3: the property 'Lx' is not supported");
  EXPECT_EQ(ErrorOf("\\p{w}"), "regular expression, byte 3: the property 'w' is not supported");
  EXPECT_EQ(ErrorOf("\\x{41"), "regular expression, byte 5: broken hex escape");
  EXPECT_EQ(ErrorOf("\\x{123456789}"), "regular expression, byte 11: broken hex escape");
}

TEST(RegexEscape, CharactersAreWrittenSoThatTheyMeanThemselves) {
  std::string out;
  for (uint32_t c : {uint32_t{'a'}, uint32_t{'9'}, uint32_t{']'}, uint32_t{'#'}, 0x20acu})
    AppendRegexChar(c, &out);
  EXPECT_EQ(out, "a9\\x{5d}\\x{23}\\x{20ac}");
}

}  // namespace
}  // namespace hydrad
