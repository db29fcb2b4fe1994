#include "server/text/tokenizer/regex_syntax.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/text/fixture.h"

namespace hydrad {
namespace {

using testing::HasSubstr;

std::string ErrorOf(std::string_view pattern) { return Message(TranslateRegex(pattern).status()); }

TEST(RegexSyntax, WritesWhatBothMachinesUnderstandAlike) {
  const std::pair<std::string, std::string> cases[] = {
      {"", ""},
      {"a|b", "a|b"},
      {"a.b", "a[^\\n]b"},
      {"^a$", "(?m:^)a(?m:$)"},
      {"\\Aa\\z", "\\Aa\\z"},
      {"(a)(?:b)(?i:c)(?>d)", "(?:a)(?:b)(?i:c)(?>d)"},
      {"(?=a)(?!b)(?<=c)(?<!d)", "(?=a)(?!b)(?<=c)(?<!d)"},
      {"a*b+?c?+d{2}e{2,}f{,3}g{1,2}?", "a*b+?c?+d{2}e{2,}f{0,3}g{1,2}?"},
      {"é\\n\\x41\\x{1F600}\\u00e9\\/", "\\x{e9}\\x{a}A\\x{1f600}\\x{e9}\\x{2f}"},
      {"[^a-c-]", "[^a-c\\x{2d}]"},
      {"[a[bc]d]", "[abcd]"},
      {"[a-]", "[a\\x{2d}]"},
      {"\\v", "\\x{b}"},
      {"\\h", "[0-9A-Fa-f]"},
      {"#", "\\x{23}"},
  };
  for (const auto& [pattern, expected] : cases) {
    const auto translated = TranslateRegex(pattern);
    ASSERT_TRUE(translated.ok()) << translated.status();
    EXPECT_EQ(*translated, expected);
  }
}

TEST(RegexSyntax, RefusesWhatWouldMeanSomethingElse) {
  const std::pair<std::string, std::string> cases[] = {
      {"a(?i)b", "'(?i...' is not supported"},
      {"(?<name>a)", "is not supported"},
      {"(a)\\1", "'\\1' is not supported"},
      {"\\bword", "'\\b' is not supported"},
      {"[[:alpha:]]", "a POSIX class"},
      {"[a&&b]", "&& in a class"},
      {"[a[^b]]", "a negated class in a class"},
      {"[]a]", "] at the start"},
      {"[\\W]", "'\\W' in a class"},
      {"\\p{Age=5.0}", "the property 'Age=5.0'"},
      {"\\p{Cn}", "the property 'Cn'"},
      {"a{2}+", "{n,m}+"},
      {"a{2}?", "{n}?"},
      {"a**", "a quantifier on a quantifier"},
      {"a{3,1}", "n above m"},
      {"a{b", "'{' as a character"},
      {"(?=a)*", "a repeated anchor or look-around"},
      {"(?i:é)", "outside ASCII"},
      {"(?i:ss)", "'ss' in (?i:"},
      {"(?i:Fi)", "'fi' in (?i:"},
      {"(?i:\\p{L})", "a set in (?i:"},
      {"(?i:[\\d])", "a set in (?i:"},
      {"\\xe9", "\\x above 7f"},
      {"[a-\\d]", "a range that ends with a set"},
  };
  for (const auto& [pattern, expected] : cases) EXPECT_THAT(ErrorOf(pattern), HasSubstr(expected)) << pattern;
}

TEST(RegexSyntax, SaysWhereAPatternIsBroken) {
  EXPECT_THAT(ErrorOf("ab(c"), HasSubstr("byte 2: ( without )"));
  EXPECT_THAT(ErrorOf("ab)c"), HasSubstr("byte 2: unmatched )"));
  EXPECT_THAT(ErrorOf("x[ab"), HasSubstr("byte 1: [ without ]"));
  EXPECT_THAT(ErrorOf("*a"), HasSubstr("byte 0: a quantifier without"));
  EXPECT_THAT(ErrorOf("a\\"), HasSubstr("\\ at the end"));
  EXPECT_THAT(ErrorOf("[b-a]"), HasSubstr("backwards"));
  EXPECT_THAT(ErrorOf("[a-"), HasSubstr("[ without ]"));
  EXPECT_THAT(ErrorOf("\\x{d800}"), HasSubstr("not a code point"));
  EXPECT_THAT(ErrorOf("\\x{110000}"), HasSubstr("not a code point"));
  EXPECT_THAT(ErrorOf("\\u12"), HasSubstr("broken hex"));
  EXPECT_THAT(ErrorOf("\\p{L"), HasSubstr("without {name}"));
  EXPECT_THAT(ErrorOf("a{1001}"), HasSubstr("above 1000"));
}

TEST(RegexSyntax, NestingIsBounded) {
  EXPECT_THAT(ErrorOf(std::string(100'000, '(')), HasSubstr("nested too deeply"));
  EXPECT_THAT(ErrorOf(std::string(100'000, '[')), HasSubstr("nested too deeply"));
  EXPECT_TRUE(TranslateRegex("((((((((((a))))))))))").ok());
}

TEST(RegexSyntax, LiteralsAreEscaped) {
  EXPECT_EQ(LiteralRegex("a.b*é"), "a\\x{2e}b\\x{2a}\\x{e9}");
  EXPECT_EQ(LiteralRegex(""), "");
}

}  // namespace
}  // namespace hydrad
