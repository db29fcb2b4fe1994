#include "server/text/tokenizer/normalizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/text/fixture.h"

namespace hydrad {
namespace {

using nlohmann::json;
using testing::HasSubstr;

absl::StatusOr<Normalizer> Parse(const json& node) { return Normalizer::Parse(JsonNode(node, "normalizer")); }

std::string Apply(const json& node, std::string_view text) {
  const auto normalizer = Parse(node);
  EXPECT_TRUE(normalizer.ok()) << normalizer.status();
  return normalizer->Apply(text);
}

json Sequence(const std::vector<json>& steps) { return {{"type", "Sequence"}, {"normalizers", steps}}; }
json Replace(const std::string& from, const std::string& to) {
  return {{"type", "Replace"}, {"pattern", {{"String", from}}}, {"content", to}};
}
json Prepend(const std::string& prefix) { return {{"type", "Prepend"}, {"prepend", prefix}}; }

TEST(Normalizer, EachStep) {
  EXPECT_EQ(Apply(nullptr, "Ab"), "Ab");
  EXPECT_EQ(Apply({{"type", "NFC"}}, "e\u0301"), "é");
  EXPECT_EQ(Apply({{"type", "NFD"}}, "é"), "e\u0301");
  EXPECT_EQ(Apply({{"type", "NFKC"}}, "①"), "1");
  EXPECT_EQ(Apply({{"type", "NFKD"}}, "ﬁ"), "fi");
  EXPECT_EQ(Apply({{"type", "Lowercase"}}, "ÄB"), "äb");
  EXPECT_EQ(Apply(Prepend("▁"), "a"), "▁a");
  EXPECT_EQ(Apply(Prepend("▁"), ""), "");
  EXPECT_EQ(Apply(Replace(" ", "▁"), " a b"), "▁a▁b");
  EXPECT_EQ(Apply({{"type", "Replace"}, {"pattern", {{"Regex", "\\s+"}}}, {"content", " "}}, "a \n b"),
            "a b");
}

TEST(Normalizer, StripsEitherSide) {
  const auto strip = [](bool left, bool right) {
    return json{{"type", "Strip"}, {"strip_left", left}, {"strip_right", right}};
  };
  EXPECT_EQ(Apply(strip(true, true), "\u3000 a b\u00a0\n"), "a b");
  EXPECT_EQ(Apply(strip(true, false), " a "), "a ");
  EXPECT_EQ(Apply(strip(false, true), " a "), " a");
  EXPECT_EQ(Apply(strip(true, true), " \u2003 "), "");
}

TEST(Normalizer, StepsRunInOrder) {
  EXPECT_EQ(Apply(Sequence({Prepend("x"), Replace("x", "y"), Sequence({Prepend("x")})}), "x"), "xyy");
  EXPECT_EQ(Apply(Sequence({}), "x"), "x");
}

TEST(Normalizer, FrontBytesFollowTheFirstCharacter) {
  const auto front = [](const json& node, std::string_view text) {
    const auto normalizer = Parse(node);
    return normalizer->FrontBytes(text, normalizer->Apply(text));
  };
  EXPECT_EQ(front(nullptr, "éa"), 2);
  EXPECT_EQ(front(Prepend("▁"), "ab"), 4);
  EXPECT_EQ(front(Sequence({Prepend("▁"), Replace(" ", "▁")}), " b"), 6);
  EXPECT_EQ(front({{"type", "Strip"}, {"strip_left", true}, {"strip_right", false}}, " b"), 0);
  EXPECT_EQ(front({{"type", "Strip"}, {"strip_left", true}, {"strip_right", false}}, "b "), 1);
  EXPECT_EQ(front(Replace("b", ""), "b"), 0);
}

TEST(Normalizer, ErrorsNameTheComponent) {
  EXPECT_EQ(Message(Parse(Sequence({{{"type", "NFC"}}, {{"type", "BertNormalizer"}}})).status()),
            "normalizer.normalizers[1]: the normalizer 'BertNormalizer' is not supported");
  EXPECT_EQ(Message(Parse({{"type", "Precompiled"}}).status()),
            "normalizer: the normalizer 'Precompiled' is not supported");
  EXPECT_EQ(Message(Parse(json::object()).status()), "normalizer.type: is missing");
  EXPECT_EQ(Message(Parse({{"type", "Replace"}, {"pattern", {{"String", "a"}}}}).status()),
            "normalizer.content: is missing");
  EXPECT_EQ(Message(Parse({{"type", "Prepend"}, {"prepend", 1}}).status()),
            "normalizer.prepend: must be a string, not number");
}

TEST(Normalizer, AFileCannotMakeTextExplode) {
  const json doubling = Replace("a", "aaaaaaaaaaaaaaaa");
  EXPECT_THAT(Message(Parse(Sequence(std::vector<json>(8, doubling))).status()),
              HasSubstr("could grow more than"));
  EXPECT_THAT(Message(Parse(Sequence(std::vector<json>(9, Prepend("12345678")))).status()),
              HasSubstr("more than 64 bytes are prepended"));
  json nested = {{"type", "NFC"}};
  for (int i = 0; i < 100; ++i) nested = Sequence({nested});
  EXPECT_THAT(Message(Parse(nested).status()), HasSubstr("nested too deeply"));
  EXPECT_THAT(Message(Parse(Sequence({Sequence(std::vector<json>(64, Prepend(""))), Prepend("")})).status()),
              HasSubstr("more than 64 normalizers"));
}

}  // namespace
}  // namespace hydrad
