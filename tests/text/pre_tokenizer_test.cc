#include "server/text/tokenizer/pre_tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/text/fixture.h"

namespace hydrad {
namespace {

using nlohmann::json;
using testing::ElementsAre;

absl::StatusOr<PreTokenizer> Parse(const json& node) {
  return PreTokenizer::Parse(JsonNode(node, "pre_tokenizer"));
}

std::vector<std::string> Cut(const json& node, const std::vector<Piece>& texts) {
  const auto pre_tokenizer = Parse(node);
  EXPECT_TRUE(pre_tokenizer.ok()) << pre_tokenizer.status();
  Pieces pieces;
  pieces.list = texts;
  pre_tokenizer->Apply(&pieces);
  std::vector<std::string> out;
  for (const Piece& piece : pieces.list) out.emplace_back(piece.text);
  return out;
}
std::vector<std::string> Cut(const json& node, std::string_view text) { return Cut(node, {{text, 1}}); }

json ByteLevel(bool prefix_space, bool use_regex) {
  return {{"type", "ByteLevel"}, {"add_prefix_space", prefix_space}, {"use_regex", use_regex}};
}
json Sequence(const std::vector<json>& steps) { return {{"type", "Sequence"}, {"pretokenizers", steps}}; }
json Metaspace(const std::string& scheme, bool split) {
  return {{"type", "Metaspace"}, {"replacement", "▁"}, {"prepend_scheme", scheme}, {"split", split}};
}

TEST(PreTokenizer, Gpt2) {
  EXPECT_THAT(Cut(ByteLevel(false, true), "I'll take 42 of  them!!\n"),
              ElementsAre("I", "'ll", " take", " 42", " of", " ", " them", "!!", "\n"));
  EXPECT_THAT(Cut(ByteLevel(true, true), "Hi you"), ElementsAre(" Hi", " you"));
  EXPECT_THAT(Cut(ByteLevel(true, false), " Hi you"), ElementsAre(" Hi you"));
}

TEST(PreTokenizer, BytesAreWrittenOnlyForStepsThatFollow) {
  EXPECT_TRUE(Parse(ByteLevel(false, false))->ends_with_bytes());
  const json digits = {{"type", "Digits"}, {"individual_digits", true}};
  EXPECT_THAT(Cut(Sequence({digits, ByteLevel(false, false)}), "é 1"), ElementsAre("é ", "1"));
  const json then_digits = Sequence({ByteLevel(false, false), digits});
  EXPECT_FALSE(Parse(then_digits)->ends_with_bytes());
  EXPECT_THAT(Cut(then_digits, "é 1"), ElementsAre("Ã©Ġ", "1"));
}

TEST(PreTokenizer, Digits) {
  EXPECT_THAT(Cut({{"type", "Digits"}, {"individual_digits", true}}, "a12½b"),
              ElementsAre("a", "1", "2", "½", "b"));
  EXPECT_THAT(Cut({{"type", "Digits"}}, "a12½b"), ElementsAre("a", "12½", "b"));
}

TEST(PreTokenizer, Whitespace) {
  EXPECT_THAT(Cut({{"type", "Whitespace"}}, " Hey, you_1\u3000?! "), ElementsAre("Hey", ",", "you_1", "?!"));
  EXPECT_THAT(Cut({{"type", "WhitespaceSplit"}}, " Hey, you\t"), ElementsAre("Hey,", "you"));
  EXPECT_THAT(Cut({{"type", "Whitespace"}}, "  "), ElementsAre());
}

TEST(PreTokenizer, Split) {
  const json comma = {
      {"type", "Split"}, {"pattern", {{"String", ","}}}, {"behavior", "Removed"}, {"invert", false}};
  EXPECT_THAT(Cut(comma, "a,b,,c"), ElementsAre("a", "b", "c"));
  const json inverted = {
      {"type", "Split"}, {"pattern", {{"Regex", "\\d"}}}, {"behavior", "Removed"}, {"invert", true}};
  EXPECT_THAT(Cut(inverted, "a1b2"), ElementsAre("1", "2"));
}

TEST(PreTokenizer, MetaspacePrependsByItsScheme) {
  const std::vector<Piece> texts = {{"a b", 1}, {"c", 0}, {" d", 0}};
  EXPECT_THAT(Cut(Metaspace("always", true), texts), ElementsAre("▁a", "▁b", "▁c", "▁d"));
  EXPECT_THAT(Cut(Metaspace("first", true), texts), ElementsAre("▁a", "▁b", "c", "▁d"));
  EXPECT_THAT(Cut(Metaspace("never", true), texts), ElementsAre("a", "▁b", "c", "▁d"));
  EXPECT_THAT(Cut(Metaspace("always", false), texts), ElementsAre("▁a▁b", "▁c", "▁d"));
  EXPECT_THAT(Cut({{"type", "Metaspace"}, {"replacement", "▁"}, {"add_prefix_space", false}}, "a b"),
              ElementsAre("a", "▁b"));
}

TEST(PreTokenizer, FirstIsKnownBehindOtherSteps) {
  const json spaces = {{"type", "Split"}, {"pattern", {{"String", " "}}}, {"behavior", "Isolated"}};
  EXPECT_THAT(Cut(Sequence({spaces, Metaspace("first", true)}), "a b"), ElementsAre("▁a", "▁", "b"));
}

TEST(PreTokenizer, ErrorsNameTheComponent) {
  const auto error = [](const json& node) { return Message(Parse(node).status()); };
  EXPECT_EQ(error(Sequence({ByteLevel(false, true), {{"type", "BertPreTokenizer"}}})),
            "pre_tokenizer.pretokenizers[1]: the pre-tokenizer 'BertPreTokenizer' is not supported");
  EXPECT_EQ(error({{"type", "Split"}, {"pattern", {{"Regex", "["}}}, {"behavior", "Removed"}}),
            "pre_tokenizer.pattern.Regex: regular expression, byte 0: [ without ]");
  EXPECT_EQ(error({{"type", "Metaspace"}, {"replacement", "ab"}}),
            "pre_tokenizer.replacement: must be one character");
  EXPECT_EQ(error({{"type", "Metaspace"}, {"replacement", "_"}, {"prepend_scheme", "last"}}),
            "pre_tokenizer: 'last' is not a prepend_scheme");
  EXPECT_EQ(error({{"type", "Metaspace"},
                   {"replacement", "_"},
                   {"add_prefix_space", false},
                   {"prepend_scheme", "always"}}),
            "pre_tokenizer: add_prefix_space contradicts prepend_scheme");
  EXPECT_EQ(error(Sequence(std::vector<json>(3, ByteLevel(false, false)))),
            "pre_tokenizer.pretokenizers[2]: a third ByteLevel");
  json nested = ByteLevel(false, false);
  for (int i = 0; i < 20; ++i) nested = Sequence({nested});
  EXPECT_THAT(error(nested), testing::HasSubstr("nested too deeply"));
}

}  // namespace
}  // namespace hydrad
