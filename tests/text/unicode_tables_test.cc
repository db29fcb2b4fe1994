#include "server/text/tokenizer/unicode_tables.h"

#include <gtest/gtest.h>

#include <string>

#include "server/text/tokenizer/regex.h"
#include "server/text/tokenizer/utf8.h"

namespace hydrad {
namespace {

void ExpectAscending(std::span<const CodePointRange> ranges, std::string_view name) {
  for (size_t i = 0; i < ranges.size(); ++i) {
    EXPECT_LE(ranges[i].first, ranges[i].last) << name;
    if (i == 0) continue;
    EXPECT_GT(ranges[i].first, ranges[i - 1].last + 1) << name;
  }
}

TEST(UnicodeTables, RangesAscendAndDoNotTouch) {
  ExpectAscending(NumericRanges(), "numeric");
  ExpectAscending(WordRanges(), "word");
  ExpectAscending(NormalizationInertRanges(), "inert");
  for (const RegexProperty& property : RegexProperties()) ExpectAscending(property.added, property.name);
  const auto lower = LowerCaseAdditions();
  for (size_t i = 1; i < lower.size(); ++i) EXPECT_LT(lower[i - 1].upper, lower[i].upper);
}

// How many code points the pattern matches, all of Unicode being one text.
int CountMatches(const std::string& pattern) {
  static const std::string all = [] {
    std::string text;
    for (uint32_t c = 0; c < 0x110000; ++c) {
      if (c < 0xd800 || c >= 0xe000) AppendUtf8(c, &text);
    }
    return text;
  }();
  const auto regex = Regex::Compile(pattern);
  EXPECT_TRUE(regex.ok()) << regex.status();
  RegexMatcher matcher(*regex);
  matcher.Start(all);
  int count = 0;
  for (size_t begin, end; matcher.Next(&begin, &end);) ++count;
  return count;
}

// Counted with the `tokenizers` package over every code point: the sets are those of Unicode 16. With a PCRE2
// that knows a later Unicode some would be larger, and this test is what says so.
TEST(UnicodeTables, PropertiesHaveTheSizesOfThePackage) {
  const std::pair<std::string, int> cases[] = {
      {"L", 141028},     {"N", 1911},       {"M", 2501},       {"P", 855},      {"S", 8514},
      {"Z", 19},         {"Lu", 1858},      {"Ll", 2258},      {"Lt", 31},      {"Lm", 404},
      {"Lo", 136477},    {"Mn", 2020},      {"Mc", 468},       {"Me", 13},      {"Nd", 760},
      {"Nl", 236},       {"No", 915},       {"Pc", 10},        {"Pd", 27},      {"Ps", 79},
      {"Pe", 77},        {"Pi", 12},        {"Pf", 10},        {"Po", 640},     {"Sm", 950},
      {"Sc", 63},        {"Sk", 125},       {"So", 7376},      {"Zs", 17},      {"Zl", 1},
      {"Zp", 1},         {"Cc", 65},        {"Cf", 170},       {"Co", 137468},  {"Han", 99030},
      {"Hiragana", 381}, {"Katakana", 321}, {"Hangul", 11739}, {"Latin", 1487}, {"Greek", 518},
      {"Cyrillic", 508}, {"Arabic", 1373},  {"Hebrew", 134},   {"Thai", 86},    {"Devanagari", 164},
  };
  for (const auto& [name, count] : cases) EXPECT_EQ(CountMatches("\\p{" + name + "}"), count) << name;
  EXPECT_EQ(CountMatches("\\w"), 144671);
  EXPECT_EQ(CountMatches("\\s"), 25);
  EXPECT_EQ(CountMatches("\\S"), 1112064 - 25);
  EXPECT_EQ(CountMatches("[\\S]"), 1112064 - 25);
  EXPECT_EQ(CountMatches("\\d"), 760);
  EXPECT_EQ(CountMatches("\\h"), 22);
  EXPECT_EQ(CountMatches("[\\H]"), 1112064 - 22);
  EXPECT_EQ(CountMatches("."), 1112064 - 1);
}

}  // namespace
}  // namespace hydrad
