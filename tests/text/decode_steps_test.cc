#include "server/text/tokenizer/decode_steps.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/text/fixture.h"

namespace hydrad {
namespace {

using testing::ElementsAre;

// What a stage hands on: tokens, the fragments of each joined by '.'.
class Recorder final : public DecodeStage {
 public:
  void Add(std::string_view fragment, bool ends_token) override {
    if (std::exchange(new_token_, ends_token)) {
      tokens.emplace_back(fragment);
    } else if (!fragment.empty()) {
      tokens.back().append(".").append(fragment);
    }
  }
  void Finish() override { ++finished; }
  void StartStreaming() override {}
  std::unique_ptr<DecodeStage> Clone() const override { return std::make_unique<Recorder>(*this); }

  std::vector<std::string> tokens;
  int finished = 0;

 private:
  bool new_token_ = true;
};

std::vector<std::string> Decode(const DecoderStep& step, const std::vector<std::string>& tokens) {
  const auto stage = step.Start();
  Recorder recorder;
  stage->set_next(&recorder);
  for (const std::string& token : tokens) stage->Add(token, true);
  stage->Finish();
  EXPECT_EQ(recorder.finished, 1);
  return recorder.tokens;
}

Pattern MakePattern(const nlohmann::json& json) { return *Pattern::Parse(JsonNode(json, "")); }

TEST(DecodeSteps, ByteLevelJoinsBytesAndHoldsBackHalfCharacters) {
  EXPECT_THAT(Decode(*ByteLevelDecoder(), {"Ġa", "Ã", "©"}), ElementsAre(" a.é"));
  EXPECT_THAT(Decode(*ByteLevelDecoder(), {"Ã", "a"}), ElementsAre(".\uFFFDa"));
  EXPECT_THAT(Decode(*ByteLevelDecoder(), {"a", "Ã"}), ElementsAre("a.\uFFFD"));
  EXPECT_THAT(Decode(*ByteLevelDecoder(), {}), ElementsAre(""));
  // A token with a foreign character is taken as it is, all of it.
  EXPECT_THAT(Decode(*ByteLevelDecoder(), {"Ġ▁"}), ElementsAre("Ġ▁"));
}

TEST(DecodeSteps, ByteFallbackTurnsRunsIntoText) {
  EXPECT_THAT(Decode(*ByteFallbackDecoder(), {"a", "<0xC3>", "<0xA9>", "b"}), ElementsAre("a", "é", "b"));
  // One wrong byte spoils the run.
  EXPECT_THAT(Decode(*ByteFallbackDecoder(), {"<0xC3>", "<0xA9>", "<0xff>"}),
              ElementsAre("\uFFFD", "\uFFFD", "\uFFFD"));
  EXPECT_THAT(Decode(*ByteFallbackDecoder(), {"<0x41>", "<0x4>", "<0xG1>", "<0x+A>"}),
              ElementsAre("A", "<0x4>", "<0xG1>", "\n"));
}

// Of what was added before the streaming starts, too, all is handed on that is whole.
TEST(DecodeSteps, ByteFallbackStreamsCharacters) {
  const auto step = ByteFallbackDecoder();
  const auto stream = [&step](const std::vector<std::string>& before, const std::vector<std::string>& after) {
    const auto stage = step->Start();
    Recorder recorder;
    stage->set_next(&recorder);
    for (const std::string& token : before) stage->Add(token, true);
    stage->StartStreaming();
    for (const std::string& token : after) stage->Add(token, true);
    const bool holding = stage->holding();
    stage->Finish();
    recorder.tokens.emplace_back(holding ? "held" : "not held");
    return recorder.tokens;
  };
  EXPECT_THAT(stream({"<0xC3>"}, {"<0xA9>", "<0x41>"}), ElementsAre("é.A", "not held"));
  EXPECT_THAT(stream({"<0xC3>", "<0xA9>", "<0xC3>"}, {"<0xA9>", "b"}), ElementsAre("é.é", "b", "not held"));
  EXPECT_THAT(stream({}, {"<0x41>", "<0xE1>", "<0x83>"}), ElementsAre("A", "\uFFFD", "\uFFFD", "held"));
  EXPECT_THAT(stream({}, {"<0x41>", "<0xFF>", "<0x41>", "b", "<0x41>"}),
              ElementsAre("A", "\uFFFD", "\uFFFD", "b", "A", "not held"));
  EXPECT_THAT(stream({"<0x41>", "<0xFF>"}, {"<0x41>"}),
              ElementsAre("\uFFFD", "\uFFFD", "\uFFFD", "not held"));
}

TEST(DecodeSteps, FuseMakesOneToken) {
  EXPECT_THAT(Decode(*FuseDecoder(), {"a", "b", "c"}), ElementsAre("a.b.c"));
  EXPECT_THAT(Decode(*FuseDecoder(), {}), ElementsAre(""));
}

TEST(DecodeSteps, StripCutsTheEndsOfEveryToken) {
  EXPECT_THAT(Decode(*StripDecoder(" ", 1, 0), {"  a ", " b"}), ElementsAre(" a ", "b"));
  EXPECT_THAT(Decode(*StripDecoder(" ", 0, 2), {" a    ", "b ", "   "}), ElementsAre(" a  ", "b", " "));
  EXPECT_THAT(Decode(*StripDecoder("▁", 2, 1), {"▁a▁▁", "▁▁▁▁"}), ElementsAre("a▁", "▁"));
}

TEST(DecodeSteps, StripHoldsBackOnlyWhatMayBeCut) {
  const auto step = StripDecoder(" ", 1, 1);
  const auto stage = step->Start();
  Recorder recorder;
  stage->set_next(&recorder);
  for (const char* fragment : {" ", "a", " ", " ", "b"}) stage->Add(fragment, false);
  EXPECT_THAT(recorder.tokens, ElementsAre(".a. . b"));
  stage->Add(" ", false);
  stage->Add("", true);
  EXPECT_THAT(recorder.tokens, ElementsAre(".a. . b"));
}

TEST(DecodeSteps, ReplaceSeesWholeTokens) {
  const auto step = ReplaceDecoder(MakePattern({{"String", "ab"}}), "x");
  EXPECT_THAT(Decode(*step, {"aab", "a", "b"}), ElementsAre("ax", "a", "b"));
  const auto stage = step->Start();
  Recorder recorder;
  stage->set_next(&recorder);
  stage->Add("a", false);
  stage->Add("b", true);
  EXPECT_THAT(recorder.tokens, ElementsAre(".x"));
  EXPECT_THAT(Decode(*ReplaceDecoder(MakePattern({{"String", ""}}), "-"), {"", "a"}), ElementsAre("", "-a-"));
}

TEST(DecodeSteps, ReplaceOfATextHoldsBackOnlyWhatMayBeOne) {
  const auto step = ReplaceDecoder(MakePattern({{"String", "aab"}}), "-");
  const auto stage = step->Start();
  Recorder recorder;
  stage->set_next(&recorder);
  for (const char* fragment : {"c", "a", "a", "a", "b", "a", "c"}) stage->Add(fragment, false);
  EXPECT_THAT(recorder.tokens, ElementsAre("c.a.-.ac"));
  EXPECT_FALSE(stage->holding());
  stage->Add("aa", false);
  EXPECT_TRUE(stage->holding());
  const auto copy = stage->Clone();
  Recorder copied;
  copy->set_next(&copied);
  copy->Add("b", false);
  EXPECT_THAT(copied.tokens, ElementsAre("-"));
  stage->Add("a", true);
  stage->Add("b", true);
  EXPECT_THAT(recorder.tokens, ElementsAre("c.a.-.ac.aaa", "b"));
}

TEST(DecodeSteps, MetaspaceBecomesSpace) {
  EXPECT_THAT(Decode(*MetaspaceDecoder("▁", true), {"▁a▁b", "▁c"}), ElementsAre("ab", " c"));
  EXPECT_THAT(Decode(*MetaspaceDecoder("▁", false), {"▁a", "▁c"}), ElementsAre(" a", " c"));
}

TEST(DecodeSteps, SpaceJoin) {
  EXPECT_THAT(Decode(*SpaceJoinDecoder(), {"a", "b", ""}), ElementsAre("a. .b. "));
  EXPECT_THAT(Decode(*SpaceJoinDecoder(), {}), ElementsAre(""));
}

TEST(DecodeSteps, TokenBytes) {
  EXPECT_EQ(ByteLevelDecoder()->TokenBytes("ĠÃ"), " \xC3");
  EXPECT_EQ(ByteLevelDecoder()->TokenBytes("\xC3"), "\xC3");
  EXPECT_EQ(ByteFallbackDecoder()->TokenBytes("<0xC3>"), "\xC3");
  EXPECT_EQ(MetaspaceDecoder("▁", true)->TokenBytes("▁a"), " a");
  EXPECT_EQ(MetaspaceDecoder("▁", true)->TokenBytes("\xC3"), "\xC3");
  EXPECT_EQ(ReplaceDecoder(MakePattern({{"String", "▁"}}), " ")->TokenBytes("▁a"), " a");
  EXPECT_EQ(StripDecoder(" ", 1, 0)->TokenBytes(" a"), " a");
}

}  // namespace
}  // namespace hydrad
