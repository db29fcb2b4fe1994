#include "server/text/tokenizer/regex.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "tests/text/fixture.h"

namespace hydrad {
namespace {

using testing::ElementsAre;
using testing::Pair;

using Bounds = std::vector<std::pair<size_t, size_t>>;

Bounds AllMatches(const Regex& regex, std::string_view text) {
  RegexMatcher matcher(regex);
  matcher.Start(text);
  Bounds found;
  for (size_t begin, end; matcher.Next(&begin, &end);) found.emplace_back(begin, end);
  return found;
}

Bounds AllMatches(std::string_view pattern, std::string_view text) {
  const auto regex = Regex::Compile(pattern);
  EXPECT_TRUE(regex.ok()) << regex.status();
  return AllMatches(*regex, text);
}

TEST(Regex, MatchesDoNotOverlap) {
  EXPECT_THAT(AllMatches("aa", "aaaaa"), ElementsAre(Pair(0, 2), Pair(2, 4)));
  EXPECT_THAT(AllMatches("b", "aaaa"), ElementsAre());
  EXPECT_THAT(AllMatches("a", ""), ElementsAre());
}

TEST(Regex, AnEmptyMatchBehindAMatchDoesNotCount) {
  EXPECT_THAT(AllMatches("x*", "axb"), ElementsAre(Pair(0, 0), Pair(1, 2), Pair(3, 3)));
  EXPECT_THAT(AllMatches("", "é!"), ElementsAre(Pair(0, 0), Pair(2, 2), Pair(3, 3)));
  // Nor does any other match at that place: the search goes on one character further.
  EXPECT_THAT(AllMatches("a|(?<=a)|b", "abb"), ElementsAre(Pair(0, 1), Pair(2, 3)));
}

TEST(Regex, AnchorsAreOfLines) {
  EXPECT_THAT(AllMatches("^.", "ab\ncd\n"), ElementsAre(Pair(0, 1), Pair(3, 4)));
  EXPECT_THAT(AllMatches("\\s+$", "a \nb  "), ElementsAre(Pair(1, 2), Pair(4, 6)));
}

TEST(Regex, CaseIsIgnoredAsInUnicode) {
  EXPECT_THAT(AllMatches("(?i:'s|k)", "'S 'ſ \u212a"), ElementsAre(Pair(0, 2), Pair(3, 6), Pair(7, 10)));
}

TEST(Regex, KnowsLettersNewerThanPcre2) {
  EXPECT_THAT(AllMatches("\\p{L}+", "a\U000323af!"), ElementsAre(Pair(0, 5)));
  EXPECT_THAT(AllMatches("[^\\p{L}]", "\U000323af!"), ElementsAre(Pair(4, 5)));
}

TEST(Regex, LiteralsMatchThemselvesOnly) {
  const auto regex = Regex::Literal("a.b");
  ASSERT_TRUE(regex.ok());
  EXPECT_THAT(AllMatches(*regex, "axb a.b"), ElementsAre(Pair(4, 7)));
}

TEST(Regex, ErrorsOfTheCompilerAreReported) {
  EXPECT_THAT(Message(Regex::Compile("(?<=a+)b").status()), testing::HasSubstr("regular expression: "));
  // Each is within bounds by itself, all together are too large.
  EXPECT_FALSE(Regex::Compile("(((a{900}){900}){900}){900}").ok());
}

// The step limit ends exponential backtracking; what was not reached is unmatched.
TEST(Regex, ExponentialPatternsGiveUp) {
  const std::string text = std::string(40, 'a') + "!";
  EXPECT_THAT(AllMatches("(?:a|aa)+$", text), ElementsAre());
}

// Patterns of real tokenizers backtrack over a run of white space once; a long run must not hit the limit.
TEST(Regex, LongRunsAreWithinTheLimit) {
  const std::string spaces(2'000'000, ' ');
  EXPECT_THAT(AllMatches("\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+", spaces + "a"),
              ElementsAre(Pair(0, spaces.size() - 1), Pair(spaces.size() - 1, spaces.size())));
}

// More backtracking than the compiled code's stack holds goes to the interpreter.
TEST(Regex, DeepBacktrackingIsFinished) {
  const std::string text(20'000, 'a');
  EXPECT_THAT(AllMatches("(?:a|b)*c|a+", text), ElementsAre(Pair(0, text.size())));
}

TEST(Regex, AMatcherMayBeUsedForManyTexts) {
  const auto regex = Regex::Compile("b");
  ASSERT_TRUE(regex.ok());
  RegexMatcher matcher(*regex);
  size_t begin = 0, end = 0;
  matcher.Start("ab");
  EXPECT_TRUE(matcher.Next(&begin, &end));
  EXPECT_EQ(begin, 1);
  EXPECT_FALSE(matcher.Next(&begin, &end));
  EXPECT_FALSE(matcher.Next(&begin, &end));
  matcher.Start("b");
  EXPECT_TRUE(matcher.Next(&begin, &end));
  EXPECT_EQ(begin, 0);
}

}  // namespace
}  // namespace hydrad
