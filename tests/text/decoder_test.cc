#include "server/text/tokenizer/decoder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/text/fixture.h"

namespace hydrad {
namespace {

using nlohmann::json;
using testing::ElementsAre;

absl::StatusOr<Decoder> Parse(const json& node) { return Decoder::Parse(JsonNode(node, "decoder")); }

// What each token made certain, and what the end did.
std::vector<std::string> Stream(const json& node, const std::vector<std::string>& tokens) {
  const auto decoder = Parse(node);
  EXPECT_TRUE(decoder.ok()) << decoder.status();
  const auto stream = decoder->Start();
  std::vector<std::string> pieces;
  for (const std::string& token : tokens) {
    stream->AddToken(token);
    pieces.push_back(stream->Take());
  }
  stream->Finish();
  pieces.push_back(stream->Take());
  return pieces;
}

json Sequence(const std::vector<json>& steps) { return {{"type", "Sequence"}, {"decoders", steps}}; }
const json kReplace = {{"type", "Replace"}, {"pattern", {{"String", "▁"}}}, {"content", " "}};
const json kFuse = {{"type", "Fuse"}};
const json kStrip = {{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}};
const json kLlama = Sequence({kReplace, {{"type", "ByteFallback"}}, kFuse, kStrip});

TEST(Decoder, LlamaStreamsWordByWord) {
  EXPECT_THAT(Stream(kLlama, {"▁▁Hi", "▁you", "<0xC3>", "<0xA9>", "!"}),
              ElementsAre(" Hi", " you", "", "", "é!", ""));
  EXPECT_THAT(Stream(kLlama, {"▁", "▁a"}), ElementsAre("", " a", ""));
  EXPECT_THAT(Stream(kLlama, {"a", "<0xC3>"}), ElementsAre("a", "", "\uFFFD"));
}

TEST(Decoder, WithoutADecoderTokensAreJoinedBySpaces) {
  EXPECT_THAT(Stream(nullptr, {"a", "b"}), ElementsAre("a", " b", ""));
}

TEST(Decoder, OrderMatters) {
  EXPECT_THAT(Stream(Sequence({kStrip, kFuse}), {" a", " b"}), ElementsAre("a", "b", ""));
  EXPECT_THAT(Stream(Sequence({kFuse, kStrip}), {" a", " b"}), ElementsAre("a", " b", ""));
  EXPECT_THAT(Stream(Sequence({kFuse, kReplace}), {"▁a", "▁b"}), ElementsAre(" a", " b", ""));
  // An expression that needs the whole text cannot stream.
  const json expression = {{"type", "Replace"}, {"pattern", {{"Regex", "▁"}}}, {"content", " "}};
  EXPECT_THAT(Stream(Sequence({kFuse, expression}), {"▁a", "▁b"}), ElementsAre("", "", " a b"));
  EXPECT_THAT(Stream(Sequence({}), {"a", "b"}), ElementsAre("a", "b", ""));
}

TEST(Decoder, ACopyOfAStreamGoesOnByItself) {
  for (const json& node : {kLlama, Sequence({kFuse, kReplace, kStrip}), json(nullptr),
                           json{{"type", "Metaspace"}, {"replacement", "▁"}}, json{{"type", "ByteLevel"}}}) {
    const auto decoder = Parse(node);
    ASSERT_TRUE(decoder.ok()) << decoder.status();
    const auto whole = [&decoder](const std::vector<std::string>& tokens) {
      const auto stream = decoder->Start();
      for (const std::string& token : tokens) stream->AddToken(token);
      stream->Finish();
      return stream->Take();
    };
    DecodeStream first(*decoder->Start());
    first.AddToken("▁a");
    DecodeStream copy(first);
    first.AddToken("▁b");
    copy.AddToken("▁c");
    first.Finish();
    copy.Finish();
    EXPECT_EQ(first.Take(), whole({"▁a", "▁b"}));
    EXPECT_EQ(copy.Take(), whole({"▁a", "▁c"}));
  }
}

TEST(Decoder, TokenBytesIgnoreThePlaceInTheText) {
  const auto decoder = Parse(kLlama);
  EXPECT_EQ(decoder->TokenBytes("▁Hi"), " Hi");
  EXPECT_EQ(decoder->TokenBytes("<0xC3>"), "\xC3");
  EXPECT_EQ(Parse({{"type", "ByteLevel"}})->TokenBytes("Ġa"), " a");
}

TEST(Decoder, Errors) {
  const auto error = [](const json& node) { return Message(Parse(node).status()); };
  EXPECT_EQ(error(Sequence({kFuse, {{"type", "WordPiece"}}})),
            "decoder.decoders[1]: the decoder 'WordPiece' is not supported");
  EXPECT_EQ(error({{"type", "Strip"}, {"content", " "}, {"start", 1}}), "decoder.stop: is missing");
  EXPECT_EQ(error({{"type", "Strip"}, {"content", "ab"}, {"start", 1}, {"stop", 1}}),
            "decoder.content: must be one character");
  EXPECT_EQ(error({{"type", "Metaspace"}}), "decoder.replacement: is missing");
  EXPECT_EQ(error({{"type", "Sequence"}}), "decoder.decoders: is missing");
  json growing = {{"type", "Replace"}, {"pattern", {{"String", "a"}}}, {"content", std::string(100, 'a')}};
  EXPECT_THAT(error(Sequence({growing, growing})), testing::HasSubstr("could grow more than 1024 times"));
  json nested = kFuse;
  for (int i = 0; i < 20; ++i) nested = Sequence({nested});
  EXPECT_THAT(error(nested), testing::HasSubstr("nested too deeply"));
}

}  // namespace
}  // namespace hydrad
