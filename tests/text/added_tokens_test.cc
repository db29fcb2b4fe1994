#include "server/text/tokenizer/added_tokens.h"

#include <fmt/core.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/text/fixture.h"

namespace hydrad {
namespace {

using nlohmann::json;
using testing::ElementsAre;

class AddedTokensTest : public testing::Test {
 protected:
  AddedTokensTest() : model_json_(BpeJson({"a", "b", "<s>"}, {})) {
    model_ = *BpeModel::Parse(JsonNode(model_json_, "model"), false);
  }

  absl::StatusOr<AddedTokens> Parse(const json& tokens, const json& normalizer = nullptr) {
    const auto parsed = Normalizer::Parse(JsonNode(normalizer, "normalizer"));
    EXPECT_TRUE(parsed.ok());
    return AddedTokens::Parse(JsonNode(tokens, "added_tokens"), model_, *parsed);
  }

  // The parts of the text, each as id:text, or :text between tokens.
  std::vector<std::string> Find(const json& tokens, std::string_view text, bool parse_special = true) {
    const auto added = Parse(tokens);
    EXPECT_TRUE(added.ok()) << added.status();
    std::vector<std::string> parts;
    for (const AddedTokenSpan& span : added->Find(text, /*normalized=*/false, parse_special)) {
      parts.push_back(fmt::format("{}:{}", span.id < 0 ? "" : std::to_string(span.id),
                                  text.substr(span.begin, span.end - span.begin)));
    }
    return parts;
  }

  static json Token(const std::string& content, const json& flags = json::object()) {
    json token = {{"content", content}, {"normalized", false}};
    token.merge_patch(flags);
    return token;
  }

  const json model_json_;
  BpeModel model_;
};

TEST_F(AddedTokensTest, IdsFollowTheVocabularyNotTheFile) {
  const auto added = Parse({Token("<x>", {{"id", 77}}), Token("<s>"), Token("<y>"), Token("<x>")});
  ASSERT_TRUE(added.ok());
  EXPECT_EQ(added->TokenId("<x>"), 3);
  EXPECT_EQ(added->TokenId("<s>"), 2);
  EXPECT_EQ(added->TokenId("<y>"), 4);
  EXPECT_EQ(added->TokenId("a"), -1);
  EXPECT_EQ(added->max_id(), 4);
  EXPECT_EQ(added->Token(3)->content, "<x>");
  EXPECT_EQ(added->Token(0), nullptr);
}

TEST_F(AddedTokensTest, LongestAtTheLeftmostPlaceWins) {
  const json tokens = {Token("ab"), Token("abc"), Token("bcd")};
  EXPECT_THAT(Find(tokens, "xabcdab"), ElementsAre(":x", "4:abc", ":d", "3:ab"));
  EXPECT_THAT(Find(tokens, "abd"), ElementsAre("3:ab", ":d"));
  EXPECT_THAT(Find(tokens, ""), ElementsAre());
}

TEST_F(AddedTokensTest, SpecialTokensCanBeHidden) {
  const json tokens = {Token("<s>", {{"special", true}}), Token("<s")};
  EXPECT_THAT(Find(tokens, "a<s>"), ElementsAre(":a", "2:<s>"));
  // The shorter token inside a hidden one is not looked for.
  EXPECT_THAT(Find(tokens, "a<s><s", /*parse_special=*/false), ElementsAre(":a<s>", "3:<s"));
}

TEST_F(AddedTokensTest, SingleWords) {
  const json tokens = json::array({Token("word", {{"single_word", true}})});
  EXPECT_THAT(Find(tokens, "word words sword a_word word!"),
              ElementsAre("3:word", ": words sword a_word ", "3:word", ":!"));
  EXPECT_THAT(Find(tokens, "éword word\u0301"), ElementsAre(":éword word\u0301"));
}

TEST_F(AddedTokensTest, StrippingTakesWhiteSpaceFromTheSides) {
  const json tokens = {Token("L", {{"lstrip", true}}), Token("R", {{"rstrip", true}})};
  EXPECT_THAT(Find(tokens, "a \u3000L b R\t\nc"), ElementsAre(":a", "3: \u3000L", ": b ", "4:R\t\n", ":c"));
  // What the first has taken the second cannot take again.
  EXPECT_THAT(Find(tokens, "R  L"), ElementsAre("4:R  ", "3:L"));
  EXPECT_THAT(Find(tokens, "  L  "), ElementsAre("3:  L", ":  "));
}

TEST_F(AddedTokensTest, ATokenMayBeginInsideWhatTheOneBeforeStripped) {
  const json tokens = {Token("R", {{"rstrip", true}}), Token(" x")};
  EXPECT_THAT(Find(tokens, "R  xy"), ElementsAre("3:R  ", "4: x", ":y"));
}

TEST_F(AddedTokensTest, ATokenOfWhichNothingIsLeftIsDropped) {
  const json tokens = {Token("a ", {{"rstrip", true}}), Token("\n", {{"lstrip", true}})};
  EXPECT_THAT(Find(tokens, "a \nb\n"), ElementsAre("3:a \n", ":b", "4:\n"));
}

// Each would walk the whole run again, a million million steps.
TEST_F(AddedTokensTest, LongRunsOfStrippingWhiteSpaceAreNotQuadratic) {
  const std::string lines(1'000'000, '\n');
  EXPECT_EQ(Find(json::array({Token("\n", {{"lstrip", true}})}), lines).size(), lines.size());
  const auto added = Parse(json::array({Token("\n", {{"rstrip", true}})}));
  const auto spans = added->Find(lines, /*normalized=*/false, true);
  ASSERT_EQ(spans.size(), lines.size());
  EXPECT_EQ(spans[0].end, lines.size());
  EXPECT_EQ(spans[1].begin, 1);
}

TEST_F(AddedTokensTest, NormalizedTokensAreFoundInTheirNormalForm) {
  const json lower = {{"type", "Lowercase"}};
  const auto added = Parse({Token("Yes", {{"normalized", true}}), Token("NO")}, lower);
  ASSERT_TRUE(added.ok());
  EXPECT_TRUE(added->Has(true));
  EXPECT_EQ(added->Find("yes", /*normalized=*/true, true)[0].id, 3);
  EXPECT_EQ(added->Find("Yes", /*normalized=*/true, true)[0].id, -1);
  EXPECT_EQ(added->Find("NO", /*normalized=*/false, true)[0].id, 4);
  EXPECT_EQ(added->Token(3)->decoded, "yes");
  EXPECT_EQ(added->Token(3)->content, "Yes");
}

TEST_F(AddedTokensTest, SpecialIsAPropertyOfTheText) {
  const auto added = Parse({Token("<s>", {{"special", true}}), Token("<t>")});
  EXPECT_TRUE(added->IsSpecialText("<s>"));
  EXPECT_FALSE(added->IsSpecialText("<t>"));
}

TEST_F(AddedTokensTest, EmptyContentIsSkipped) {
  EXPECT_THAT(Find({Token(""), Token("x")}, "ax"), ElementsAre(":a", "3:x"));
}

TEST_F(AddedTokensTest, Errors) {
  EXPECT_EQ(Message(Parse(json::array({{{"id", 1}}})).status()), "added_tokens[0].content: is missing");
  EXPECT_EQ(Message(Parse(json::array({Token("x", {{"lstrip", 1}})})).status()),
            "added_tokens[0].lstrip: must be true or false, not number");
  EXPECT_EQ(Message(Parse(json::array({Token("x", {{"id", -1}})})).status()),
            "added_tokens[0].id: must be an integer from 0 to 2147483647");
  EXPECT_EQ(Message(Parse(json::array({Token(std::string(5000, 'x'))})).status()),
            "added_tokens[0].content: is longer than 4096 bytes");
  EXPECT_EQ(Message(Parse("x").status()), "added_tokens: must be an array, not string");
}

TEST(TextSet, FindsTheLongest) {
  TextSet set;
  EXPECT_TRUE(set.empty());
  set.Add("a", 1);
  set.Add("abc", 2);
  set.Add("abc", 3);  // the first stays
  set.Add("", 4);
  size_t end = 0;
  EXPECT_EQ(set.LongestAt("abcd", 0, &end), 2);
  EXPECT_EQ(end, 3);
  EXPECT_EQ(set.LongestAt("abd", 0, &end), 1);
  EXPECT_EQ(end, 1);
  EXPECT_EQ(set.LongestAt("abd", 1, &end), -1);
}

}  // namespace
}  // namespace hydrad
