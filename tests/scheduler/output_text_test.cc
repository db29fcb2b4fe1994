#include "server/scheduler/output_text.h"

#include <gtest/gtest.h>

#include <random>

#include "tests/fakes/test_tokenizer.h"
#include "tests/text/fixture.h"

namespace hydrad {
namespace {

using Tokens = std::vector<int32_t>;

Sampled Drawn(int32_t id) { return {.token = id, .logprob = -static_cast<float>(id), .top = {}}; }

class OutputTextTest : public testing::Test {
 protected:
  OutputText Make(std::vector<std::string> stop = {}, OutputOptions output = {}, const Tokens& prompt = {}) {
    Stopping stopping;
    stopping.stop = std::move(stop);
    return OutputText(Detokenizer(*tokenizer_, output.skip_special_tokens, prompt), stopping, output);
  }

  const std::unique_ptr<const Tokenizer> tokenizer_ = MakeTestTokenizer();
};

TEST_F(OutputTextTest, PlainTokensLeaveAtOnce) {
  OutputText out = Make();
  EXPECT_FALSE(out.Add(Drawn(token::kAb), true));
  const OutputPiece piece = out.Take();
  EXPECT_EQ(piece.text, "ab");
  EXPECT_EQ(piece.tokens, Tokens{token::kAb});
  EXPECT_TRUE(piece.logprobs.empty());
  EXPECT_FALSE(piece.finished);
  EXPECT_TRUE(out.Take().tokens.empty());
}

TEST_F(OutputTextTest, LogprobsGoWithTheirTokens) {
  OutputText out = Make({"bc"}, {.top_logprobs = 0});
  out.Add(Drawn(token::kA), true);
  out.Add(Drawn(token::kB), true);  // may begin the stop string
  const OutputPiece piece = out.Take();
  ASSERT_EQ(piece.logprobs.size(), 1u);
  EXPECT_EQ(piece.logprobs[0].token, token::kA);
  EXPECT_EQ(piece.tokens, Tokens{token::kA});
}

TEST_F(OutputTextTest, ACharactersTokensWaitForTheWhole) {
  OutputText out = Make();
  for (const int32_t id : {token::kE2, token::k82}) {
    out.Add(Drawn(id), true);
    const OutputPiece piece = out.Take();
    EXPECT_EQ(piece.text, "");
    EXPECT_TRUE(piece.tokens.empty());
  }
  out.Add(Drawn(token::kAC), true);
  const OutputPiece piece = out.Take();
  EXPECT_EQ(piece.text, "€");
  EXPECT_EQ(piece.tokens, (Tokens{token::kE2, token::k82, token::kAC}));
}

TEST_F(OutputTextTest, ATokenThatEndsInsideTheNextCharacterWaitsForThat) {
  OutputText out = Make();
  out.Add(Drawn(token::kE2), true);
  out.Add(Drawn(token::k82), true);
  out.Add(Drawn(token::kACE2), true);
  OutputPiece piece = out.Take();
  EXPECT_EQ(piece.text, "€");
  EXPECT_EQ(piece.tokens, (Tokens{token::kE2, token::k82}));
  out.Add(Drawn(token::k82AC), true);
  piece = out.Take();
  EXPECT_EQ(piece.text, "€");
  EXPECT_EQ(piece.tokens, (Tokens{token::kACE2, token::k82AC}));
}

TEST_F(OutputTextTest, ASpecialTokenWaitsBehindAnUnfinishedCharacter) {
  OutputText out = Make();
  out.Add(Drawn(token::kE2), true);
  out.Add(Drawn(token::kPoison), true);
  EXPECT_TRUE(out.Take().tokens.empty());
  out.Add(Drawn(token::k82AC), true);
  EXPECT_EQ(out.Take().tokens, (Tokens{token::kE2, token::kPoison, token::k82AC}));
}

TEST_F(OutputTextTest, AnUnfinishedCharacterAtTheEndBecomesTheReplacement) {
  OutputText out = Make();
  out.Add(Drawn(token::kA), true);
  out.Add(Drawn(token::kE2), true);
  const OutputPiece piece = out.Finish(FinishReason::kLength);
  EXPECT_EQ(piece.text, "a\uFFFD");
  EXPECT_EQ(piece.tokens, (Tokens{token::kA, token::kE2}));
  EXPECT_TRUE(piece.finished);
  EXPECT_EQ(piece.reason, FinishReason::kLength);
}

TEST_F(OutputTextTest, TheTextEndsBeforeAStopStringAndTheTokensAfterIt) {
  OutputText out = Make({"b a"});
  EXPECT_FALSE(out.Add(Drawn(token::kAb), true));
  EXPECT_EQ(out.Take().text, "a");
  EXPECT_FALSE(out.Add(Drawn(token::kSpace), true));
  EXPECT_TRUE(out.Add(Drawn(token::kAb), true));
  const OutputPiece piece = out.Finish(FinishReason::kStopString);
  EXPECT_EQ(piece.text, "");
  EXPECT_EQ(piece.tokens, (Tokens{token::kAb, token::kSpace, token::kAb}));
  EXPECT_EQ(piece.stop, "b a");
}

TEST_F(OutputTextTest, HeldTextLeavesAtTheEnd) {
  OutputText out = Make({"bcd"});
  out.Add(Drawn(token::kBc), true);
  EXPECT_EQ(out.Take().text, "");
  const OutputPiece piece = out.Finish(FinishReason::kLength);
  EXPECT_EQ(piece.text, "bc");
  EXPECT_EQ(piece.tokens, Tokens{token::kBc});
  EXPECT_EQ(piece.stop, "");
}

// Ids: 0 to 2 special, 3 to 258 bytes, 259 ▁, 260 a, 261 b, 262 ▁a.
class PieceTextTest : public testing::Test {
 protected:
  OutputText Make(std::vector<std::string> stop = {}) {
    Stopping stopping;
    stopping.stop = std::move(stop);
    return OutputText(Detokenizer(*tokenizer_, true, Tokens{1, 262}), stopping, {});
  }
  static int32_t Byte(int byte) { return 3 + byte; }

  const std::unique_ptr<const Tokenizer> tokenizer_ =
      LoadOrDie(SentencePieceFile({"▁", "a", "b"}, {{"▁", "a"}}));
};

TEST_F(PieceTextTest, AStopStringThatBeginsWithASpaceIsFoundAtTheFirstWord) {
  OutputText out = Make({" a"});
  EXPECT_TRUE(out.Add(Drawn(262), true));
  const OutputPiece piece = out.Finish(FinishReason::kStopString);
  EXPECT_EQ(piece.text, "");
  EXPECT_EQ(piece.stop, " a");
}

TEST_F(PieceTextTest, AStopStringOfBytesIsFoundAtTheTokenThatCompletesIt) {
  OutputText out = Make({"éa"});
  for (const int32_t id : {Byte(0xc3), Byte(0xa8), Byte(0xc3), Byte(0xa9)})
    EXPECT_FALSE(out.Add(Drawn(id), true));
  EXPECT_EQ(out.Take().text, "è");
  EXPECT_TRUE(out.Add(Drawn(Byte('a')), true));
  const OutputPiece piece = out.Finish(FinishReason::kStopString);
  EXPECT_EQ(piece.text, "");
  EXPECT_EQ(piece.tokens, (Tokens{Byte(0xc3), Byte(0xa9), Byte('a')}));
}

TEST_F(PieceTextTest, TokensLeaveWithTheCharacterThatTheyComplete) {
  OutputText out = Make();
  out.Add(Drawn(Byte(0xc3)), true);
  EXPECT_TRUE(out.Take().tokens.empty());
  out.Add(Drawn(Byte(0xa9)), true);
  EXPECT_EQ(out.Take().tokens, (Tokens{Byte(0xc3), Byte(0xa9)}));
  // Spoilt: there is nothing to wait for.
  out.Add(Drawn(Byte(0xc3)), true);
  out.Add(Drawn(Byte(0xc3)), true);
  OutputPiece piece = out.Take();
  EXPECT_EQ(piece.text, "\uFFFD\uFFFD");
  EXPECT_EQ(piece.tokens.size(), 2u);
}

TEST_F(PieceTextTest, ALimitInsideACharacterLosesOnlyThat) {
  OutputText out = Make();
  for (const int32_t id : {Byte(0xc3), Byte(0xa9), Byte(0xe1)}) out.Add(Drawn(id), true);
  EXPECT_EQ(out.Finish(FinishReason::kLength).text, "é\uFFFD");
}

// An expression that a decoder replaces in the whole text: there is none before the end.
TEST(OutputText, AStopStringInTextThatOnlyTheEndBringsEndsItToo) {
  nlohmann::json file = SentencePieceFile({"▁", "a", "b"}, {});
  file["decoder"] = nlohmann::json::parse(R"({"type": "Sequence", "decoders": [{"type": "Fuse"},
      {"type": "Replace", "pattern": {"Regex": "▁"}, "content": " "}]})");
  const auto tokenizer = LoadOrDie(file);
  Stopping stopping;
  stopping.stop = {"b"};
  OutputText out(Detokenizer(*tokenizer, true, Tokens{260}), stopping, {});
  for (const int32_t id : {260, 261, 260}) EXPECT_FALSE(out.Add(Drawn(id), true));
  EXPECT_EQ(out.Take().tokens, Tokens{});
  const OutputPiece piece = out.Finish(FinishReason::kLength);
  EXPECT_EQ(piece.text, "a");
  EXPECT_EQ(piece.stop, "b");
  EXPECT_EQ(piece.reason, FinishReason::kStopString);
  EXPECT_EQ(piece.tokens, (Tokens{260, 261, 260}));
}

TEST_F(OutputTextTest, WhatThePromptEndsInIsNoOutput) {
  OutputText out = Make({}, {}, {token::kE2});
  out.Add(Drawn(token::kA), true);
  OutputPiece piece = out.Take();
  EXPECT_EQ(piece.text, "a");
  EXPECT_EQ(piece.tokens, Tokens{token::kA});
  OutputText completed = Make({"€"}, {}, {token::kE2});
  EXPECT_FALSE(completed.Add(Drawn(token::k82), true));
  EXPECT_TRUE(completed.Add(Drawn(token::kAC), true));
}

TEST_F(OutputTextTest, UnscannedTextIsNeverPartOfAMatch) {
  OutputText out = Make({"bc"});
  EXPECT_FALSE(out.Add(Drawn(token::kBc), false));
  EXPECT_FALSE(out.Add(Drawn(token::kB), false));
  EXPECT_EQ(out.Take().text, "bcb");
  EXPECT_FALSE(out.Add(Drawn(token::kC), true));
  EXPECT_TRUE(out.Add(Drawn(token::kBc), true));
}

TEST_F(OutputTextTest, ASilentTokenIsReportedWithoutText) {
  OutputText out = Make({"bx"});
  out.Add(Drawn(token::kB), true);
  out.AddSilent(Drawn(token::kD));
  const OutputPiece piece = out.Finish(FinishReason::kStopToken);
  EXPECT_EQ(piece.text, "b");
  EXPECT_EQ(piece.tokens, (Tokens{token::kB, token::kD}));
}

// Whatever the tokens: joined, the pieces are Decode of all tokens, and no token leaves before its text.
TEST_F(OutputTextTest, PiecesJoinToTheWhole) {
  std::mt19937_64 rng(3);
  for (int round = 0; round < 3000; ++round) {
    OutputText out =
        Make(round % 2 == 0 ? std::vector<std::string>{} : std::vector<std::string>{"never in it"});
    Tokens all, tokens;
    std::string text;
    const auto take = [&](const OutputPiece& piece) {
      text += piece.text;
      tokens.insert(tokens.end(), piece.tokens.begin(), piece.tokens.end());
      const std::string of_tokens = tokenizer_->Decode(tokens, true);
      const size_t certain = of_tokens.ends_with("\uFFFD") ? of_tokens.find("\uFFFD") : of_tokens.size();
      ASSERT_GE(text.size(), certain) << "round " << round;
    };
    for (int i = 0; i < 12; ++i) {
      all.push_back(static_cast<int32_t>(rng() % token::kCount));
      out.Add(Drawn(all.back()), true);
      ASSERT_NO_FATAL_FAILURE(take(out.Take()));
    }
    ASSERT_NO_FATAL_FAILURE(take(out.Finish(FinishReason::kLength)));
    ASSERT_EQ(text, tokenizer_->Decode(all, true)) << "round " << round;
    ASSERT_EQ(tokens, all);
  }
}

}  // namespace
}  // namespace hydrad
