// Texts of which parts came from users: special tokens written there stay text.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/text/fixture.h"

namespace hydrad {
namespace {

using nlohmann::json;
using testing::ElementsAre;

// Byte-level; <e> is special and 257, <x> is an added token and 258, <e>q special and 259.
json Specials() {
  json file = ByteLevelFile({{"a", "b"}});
  file["added_tokens"] = json::array({{{"content", "<e>"}, {"special", true}, {"normalized", false}},
                                      {{"content", "<x>"}, {"special", false}, {"normalized", false}},
                                      {{"content", "<e>q"}, {"special", true}, {"normalized", false}}});
  return file;
}

std::vector<int32_t> Encode(const json& file, std::string_view text, const std::vector<ByteRange>& data) {
  return LoadOrDie(file)->Encode(text, data);
}

TEST(EncodeData, SpecialTokensInDataAreText) {
  EXPECT_THAT(Encode(Specials(), "<e><e><e>", {{3, 6}}), ElementsAre(257, '<', 'e', '>', 257));
  EXPECT_THAT(Encode(Specials(), "<e>1", {{0, 3}}), ElementsAre('<', 'e', '>', '1'));
  EXPECT_THAT(Encode(Specials(), "<e>1", {{3, 4}}), ElementsAre(257, '1'));
}

TEST(EncodeData, OneByteOfDataIsEnough) {
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_THAT(Encode(Specials(), "<e>", {{i, i + 1}}), ElementsAre('<', 'e', '>')) << i;
  }
}

TEST(EncodeData, DataDoesNotTakeAwayTheTemplatesTokens) {
  // The longer token would need the user's "q".
  EXPECT_THAT(Encode(Specials(), "<e>q", {{3, 4}}), ElementsAre(257, 'q'));
  EXPECT_THAT(Encode(Specials(), "<e>q", {}), ElementsAre(259));
  EXPECT_THAT(Encode(Specials(), "<<e>", {{0, 1}}), ElementsAre('<', 257));
}

TEST(EncodeData, OtherAddedTokensAreFoundEverywhere) {
  EXPECT_THAT(Encode(Specials(), "<x>", {{0, 3}}), ElementsAre(258));
  EXPECT_THAT(Encode(Specials(), "<x>", {{1, 2}}), ElementsAre(258));
}

TEST(EncodeData, MergesGoAcrossBorders) {
  EXPECT_THAT(Encode(Specials(), "ab", {{0, 1}}), ElementsAre(256));
  EXPECT_THAT(Encode(Specials(), "ab", {{1, 2}}), ElementsAre(256));
}

TEST(EncodeData, BrokenUtf8KeepsTheBorders) {
  EXPECT_THAT(Encode(Specials(), "\xff<e><e>", {{0, 4}}), ElementsAre(0xef, 0xbf, 0xbd, '<', 'e', '>', 257));
}

TEST(EncodeData, SpecialTokensOfTheNormalisedText) {
  json file = SentencePieceFile({"▁", "a", "<", "s", ">"}, {{"▁", "a"}});
  file["added_tokens"][1]["normalized"] = true;  // <s>
  const auto tokenizer = LoadOrDie(file);
  const auto with = [&](std::string_view text, const std::vector<ByteRange>& data) {
    const auto ids = tokenizer->Encode(text, data);
    return std::count(ids.begin(), ids.end(), 1);
  };
  // The normalised form of the token begins with what Prepend adds.
  EXPECT_EQ(with("<s>a a <s>", {}), 2);
  EXPECT_EQ(with("<s>a a <s>", {{0, 3}}), 1);
  EXPECT_EQ(with("<s>a a <s>", {{3, 10}}), 1);
  EXPECT_EQ(with("<s>a a <s>", {{5, 6}}), 2);
  EXPECT_EQ(with("<s>a a <s>", {{0, 10}}), 0);
}

}  // namespace
}  // namespace hydrad
