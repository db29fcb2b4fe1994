#include "server/text/tokenizer/bpe.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <random>

#include "tests/text/fixture.h"

namespace hydrad {
namespace {

using nlohmann::json;
using testing::ElementsAre;

absl::StatusOr<BpeModel> Parse(const json& node, bool takes_bytes = false) {
  return BpeModel::Parse(JsonNode(node, "model"), takes_bytes);
}

std::vector<std::string> Tokens(const BpeModel& model, std::string_view piece) {
  BpeScratch scratch;
  std::vector<int32_t> ids;
  model.Encode(piece, &scratch, &ids);
  std::vector<std::string> tokens;
  for (int32_t id : ids) tokens.push_back(*model.Token(id));
  return tokens;
}
std::vector<std::string> Tokens(const json& node, std::string_view piece) {
  const auto model = Parse(node);
  EXPECT_TRUE(model.ok()) << model.status();
  return Tokens(*model, piece);
}

TEST(Bpe, LowestRankFirstThenLeftmost) {
  const json model = BpeJson({"a", "b", "c"}, {{"b", "c"}, {"a", "b"}, {"a", "a"}, {"aa", "a"}});
  EXPECT_THAT(Tokens(model, "abc"), ElementsAre("a", "bc"));
  EXPECT_THAT(Tokens(model, "abab"), ElementsAre("ab", "ab"));
  EXPECT_THAT(Tokens(model, "aaaaa"), ElementsAre("aa", "aaa"));
  EXPECT_THAT(Tokens(model, "a"), ElementsAre("a"));
}

TEST(Bpe, MergesAreReadInBothWritings) {
  json model = BpeJson({"a", "b"}, {{"a", "b"}, {"ab", "ab"}});
  EXPECT_THAT(Tokens(model, "abab"), ElementsAre("abab"));
  model["merges"] = {"#version: 0.2", "a b", "ab ab"};
  EXPECT_THAT(Tokens(model, "abab"), ElementsAre("abab"));
}

// The definition: look for the best pair anew after every merge.
std::vector<std::string> Slowly(const Merges& merges, std::vector<std::string> tokens) {
  std::map<std::pair<std::string, std::string>, size_t> ranks;
  for (size_t i = 0; i < merges.size(); ++i) ranks[merges[i]] = i;
  for (;;) {
    size_t best = merges.size(), at = 0;
    for (size_t i = 0; i + 1 < tokens.size(); ++i) {
      const auto it = ranks.find({tokens[i], tokens[i + 1]});
      if (it != ranks.end() && it->second < best) best = it->second, at = i;
    }
    if (best == merges.size()) return tokens;
    tokens[at] += tokens[at + 1];
    tokens.erase(tokens.begin() + static_cast<ptrdiff_t>(at) + 1);
  }
}

// Words on both sides of the length at which the heap takes over.
TEST(Bpe, AgreesWithTheDefinition) {
  std::mt19937 random(5);
  for (int round = 0; round < 20; ++round) {
    std::vector<std::string> pool = {"a", "b", "c"};
    Merges merges;
    std::map<std::pair<std::string, std::string>, bool> seen;
    for (int i = 0; i < 40; ++i) {
      const auto merge = std::pair(pool[random() % pool.size()], pool[random() % pool.size()]);
      if (!seen.emplace(merge, true).second) continue;
      merges.push_back(merge);
      pool.push_back(merge.first + merge.second);
    }
    const auto model = Parse(BpeJson({"a", "b", "c"}, merges));
    ASSERT_TRUE(model.ok()) << model.status();
    for (int word = 0; word < 100; ++word) {
      std::string text;
      std::vector<std::string> letters;
      for (size_t i = 0, size = 1 + random() % 60; i < size; ++i) {
        letters.emplace_back(1, static_cast<char>('a' + random() % 3));
        text += letters.back();
      }
      ASSERT_EQ(Tokens(*model, text), Slowly(merges, letters)) << text;
    }
  }
}

TEST(Bpe, AMillionLettersAreNotQuadratic) {
  const json model = BpeJson({"a", "b"}, {{"a", "b"}, {"ab", "ab"}, {"abab", "abab"}});
  std::string text;
  for (int i = 0; i < 500'000; ++i) text += "ab";
  EXPECT_EQ(Tokens(model, text).size(), 125'000);
}

TEST(Bpe, UnknownCharacters) {
  json model = BpeJson({"?", "a"}, {});
  EXPECT_THAT(Tokens(model, "xay"), ElementsAre("a"));  // nothing stands for them
  model["unk_token"] = "?";
  EXPECT_THAT(Tokens(model, "xxay"), ElementsAre("?", "?", "a", "?"));
  model["fuse_unk"] = true;
  EXPECT_THAT(Tokens(model, "xxayé"), ElementsAre("?", "a", "?"));
}

TEST(Bpe, ByteFallbackNeedsAllBytesOfTheCharacter) {
  json model = BpeJson({"?", "a", "<0xC3>", "<0xA9>"}, {{"<0xC3>", "<0xA9>"}});
  model["unk_token"] = "?";
  model["byte_fallback"] = true;
  EXPECT_THAT(Tokens(model, "éa"), ElementsAre("<0xC3><0xA9>", "a"));  // byte tokens merge like others
  EXPECT_THAT(Tokens(model, "êa"), ElementsAre("?", "a"));
  // The unknown character is written when a known one comes: behind the bytes, as in the package.
  EXPECT_THAT(Tokens(model, "êéa"), ElementsAre("<0xC3><0xA9>", "?", "a"));
}

TEST(Bpe, IgnoringMergesTakesWholePieces) {
  json model = BpeJson({"a", "b", "ab", "abb"}, {});
  EXPECT_THAT(Tokens(model, "ab"), ElementsAre("a", "b"));
  model["ignore_merges"] = true;
  EXPECT_THAT(Tokens(model, "ab"), ElementsAre("ab"));
  EXPECT_THAT(Tokens(model, "aba"), ElementsAre("a", "b", "a"));
}

TEST(Bpe, PrefixAndSuffix) {
  json model = BpeJson({"a", "##b", "##b</w>", "a</w>"}, {});
  model["vocab"]["ab</w>"] = 4;
  model["merges"] = json::array({"a ##b</w>"});
  model["continuing_subword_prefix"] = "##";
  model["end_of_word_suffix"] = "</w>";
  EXPECT_THAT(Tokens(model, "ab"), ElementsAre("ab</w>"));
  EXPECT_THAT(Tokens(model, "a"), ElementsAre("a</w>"));
  EXPECT_THAT(Tokens(model, "abb"), ElementsAre("a", "##b", "##b</w>"));
}

// Texts are cut before ▁ only where no token could span the place.
TEST(Bpe, MetaspaceInsideATokenIsRespected) {
  const Merges plain = {{"▁", "a"}, {"▁", "▁"}, {"▁▁", "▁"}};
  EXPECT_THAT(Tokens(BpeJson({"a", "▁"}, plain), "▁aa▁▁▁a▁"), ElementsAre("▁a", "a", "▁▁", "▁a", "▁"));
  Merges spanning = plain;
  spanning.insert(spanning.begin(), {"a", "▁"});
  EXPECT_THAT(Tokens(BpeJson({"a", "▁"}, spanning), "▁aa▁▁▁a▁"), ElementsAre("▁a", "a▁", "▁▁", "a▁"));
}

TEST(Bpe, BytesAreTakenDirectly) {
  const auto model = Parse(BpeJson(ByteTokens(), {{"Ã", "©"}, {"Ġ", "a"}}), /*takes_bytes=*/true);
  ASSERT_TRUE(model.ok());
  EXPECT_THAT(Tokens(*model, "é a\xff"), ElementsAre("Ã©", "Ġa", "ÿ"));
}

TEST(Bpe, BytesWithoutAWholeAlphabet) {
  json node = BpeJson({"?", "a", "Ġ"}, {{"Ġ", "a"}});
  node["unk_token"] = "?";
  const auto model = Parse(node, /*takes_bytes=*/true);
  ASSERT_TRUE(model.ok());
  EXPECT_THAT(Tokens(*model, " aé"), ElementsAre("Ġa", "?", "?"));
}

TEST(Bpe, ErrorsNameTheField) {
  const auto error = [](const json& patch) {
    json model = BpeJson({"a", "b"}, {});
    model.merge_patch(patch);
    return Message(Parse(model).status());
  };
  EXPECT_EQ(error({{"type", "Unigram"}}), "model: the model 'Unigram' is not supported");
  EXPECT_EQ(error({{"vocab", nullptr}}), "model.vocab: is missing");
  EXPECT_EQ(error({{"vocab", {{"a", -1}}}}),
            "model.vocab: the id of 'a' must be an integer from 0 to 4194303");
  EXPECT_EQ(error({{"vocab", {{"a", 4194304}}}}),
            "model.vocab: the id of 'a' must be an integer from 0 to 4194303");
  EXPECT_EQ(error({{"vocab", {{"a", 4194303}}}}), "model.vocab: 2 tokens have ids up to 4194303");
  EXPECT_EQ(error({{"vocab", {{"c", 1}}}}), "model.vocab: 'b' and 'c' have the same id 1");
  EXPECT_EQ(error({{"merges", nullptr}}), "model.merges: is missing");
  EXPECT_EQ(error({{"merges", json::array({"a b"})}}), "model.merges: [0] 'ab' is not in the vocabulary");
  EXPECT_EQ(error({{"merges", json::array({"a x"})}}), "model.merges: [0] 'x' is not in the vocabulary");
  EXPECT_EQ(error({{"merges", json::array({"ab"})}}),
            "model.merges: [0] must be \"left right\" or [\"left\", \"right\"]");
  EXPECT_EQ(error({{"merges", json::array({"a  b"})}}),
            "model.merges: [0] must be \"left right\" or [\"left\", \"right\"]");
  EXPECT_EQ(error({{"merges", json::array({json::array({"a", ""})})}}),
            "model.merges: [0] has an empty side");
  EXPECT_EQ(error({{"dropout", 0.1}}), "model.dropout: is not supported");
  EXPECT_EQ(error({{"unk_token", "?"}}), "model.unk_token: '?' is not in the vocabulary");
  EXPECT_EQ(error({{"dropout", 0.0}}), "");
}

TEST(Bpe, AnEmptyVocabularyEncodesNothing) {
  const json model = {{"type", "BPE"}, {"vocab", json::object()}, {"merges", json::array()}};
  EXPECT_THAT(Tokens(model, "abc"), ElementsAre());
  EXPECT_EQ(Parse(model)->max_id(), -1);
  EXPECT_EQ(Parse(model)->Token(0), nullptr);
}

}  // namespace
}  // namespace hydrad
