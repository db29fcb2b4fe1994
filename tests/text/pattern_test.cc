#include "server/text/tokenizer/pattern.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/text/fixture.h"

namespace hydrad {
namespace {

using testing::ElementsAre;

absl::StatusOr<Pattern> ParsePattern(const nlohmann::json& json) {
  return Pattern::Parse(JsonNode(json, "pattern"));
}

std::vector<std::string> Split(std::string_view text, const nlohmann::json& pattern,
                               const std::string& behavior, bool invert = false) {
  const auto parsed = ParsePattern(pattern);
  EXPECT_TRUE(parsed.ok()) << parsed.status();
  const nlohmann::json name = behavior;
  const auto kind = ParseSplitBehavior(JsonNode(name, "behavior"));
  EXPECT_TRUE(kind.ok()) << kind.status();
  RegexMatcher matcher(parsed->regex);
  std::vector<Span> spans;
  FindSpans(&matcher, text, &spans);
  for (Span& span : spans) span.match ^= invert;
  ApplySplitBehavior(*kind, &spans);
  std::vector<std::string> parts;
  for (const Span& span : spans) parts.emplace_back(text.substr(span.begin, span.end - span.begin));
  return parts;
}

const nlohmann::json kDash = {{"String", "-"}};
constexpr std::string_view kText = "the-final--countdown";

TEST(Pattern, EveryBehavior) {
  EXPECT_THAT(Split(kText, kDash, "Removed"), ElementsAre("the", "final", "countdown"));
  EXPECT_THAT(Split(kText, kDash, "Isolated"), ElementsAre("the", "-", "final", "-", "-", "countdown"));
  EXPECT_THAT(Split(kText, kDash, "MergedWithPrevious"), ElementsAre("the-", "final-", "-", "countdown"));
  EXPECT_THAT(Split(kText, kDash, "MergedWithNext"), ElementsAre("the", "-final", "-", "-countdown"));
  EXPECT_THAT(Split(kText, kDash, "Contiguous"), ElementsAre("the", "-", "final", "--", "countdown"));
}

TEST(Pattern, BehaviorsAtTheEnds) {
  EXPECT_THAT(Split("--a--", kDash, "MergedWithPrevious"), ElementsAre("-", "-", "a-", "-"));
  EXPECT_THAT(Split("--a--", kDash, "MergedWithNext"), ElementsAre("-", "-a", "-", "-"));
  EXPECT_THAT(Split("--a--", kDash, "Contiguous"), ElementsAre("--", "a", "--"));
  EXPECT_THAT(Split("--", kDash, "Removed"), ElementsAre());
  EXPECT_THAT(Split("", kDash, "Isolated"), ElementsAre());
}

TEST(Pattern, InvertedBehaviors) {
  const nlohmann::json letters = {{"Regex", "[a-z]+"}};
  EXPECT_THAT(Split("ab, cd", letters, "Removed", /*invert=*/true), ElementsAre("ab", "cd"));
  EXPECT_THAT(Split("ab, cd", letters, "MergedWithPrevious", /*invert=*/true), ElementsAre("ab, ", "cd"));
}

TEST(Pattern, ReplacesMatches) {
  const auto pattern = ParsePattern({{"Regex", "a+"}});
  ASSERT_TRUE(pattern.ok());
  RegexMatcher matcher(pattern->regex);
  EXPECT_EQ(ReplaceMatches(&matcher, "caat bar", "▁"), "c▁t b▁r");
  EXPECT_EQ(ReplaceMatches(&matcher, "", "▁"), "");
}

TEST(Pattern, AnEmptyStringMatchesBetweenCharacters) {
  EXPECT_EQ(ParsePattern({{"String", ""}})->literal, "");
  const auto pattern = ParsePattern({{"String", ""}});
  RegexMatcher matcher(pattern->regex);
  EXPECT_EQ(ReplaceMatches(&matcher, "aé", "-"), "-a-é-");
}

// The longest a text of n bytes can become, at n = 1.
TEST(Pattern, GrowthIsAnUpperBound) {
  EXPECT_EQ(ReplaceGrowth(*ParsePattern({{"String", " "}}), 3), 4);
  EXPECT_EQ(ReplaceGrowth(*ParsePattern({{"String", "abc"}}), 2), 1);
  EXPECT_GE(ReplaceGrowth(*ParsePattern({{"String", ""}}), 3) * 3, std::string("---a---").size());
  EXPECT_GE(ReplaceGrowth(*ParsePattern({{"Regex", "x*"}}), 1), 3);
}

TEST(Pattern, Errors) {
  EXPECT_EQ(Message(ParsePattern(nlohmann::json::object()).status()),
            "pattern: must hold \"String\" or \"Regex\"");
  EXPECT_EQ(Message(ParsePattern({{"String", 1}}).status()), "pattern.String: must be a string, not number");
  EXPECT_EQ(Message(ParsePattern({{"Regex", "(a"}}).status()),
            "pattern.Regex: regular expression, byte 0: ( without )");
  const nlohmann::json name = "Sideways";
  EXPECT_EQ(Message(ParseSplitBehavior(JsonNode(name, "behavior")).status()),
            "behavior: 'Sideways' is not a split behavior");
}

}  // namespace
}  // namespace hydrad
