#include "server/front/answer_reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/text/fixture.h"

namespace hydrad {
namespace {

using Kind = AnswerEvent::Kind;

constexpr const char* kHermesTemplate = "{{ '<tool_call>' }}";
constexpr const char* kCall = "<tool_call>{\"name\": \"f\", \"arguments\": {\"x\": 1}}</tool_call>";

TEST(AnswerReaderTest, LooksForCallsWhereTheConversationHasTools) {
  ChatPrompt chat;
  EXPECT_EQ(AnswerOptions(chat, {}, kHermesTemplate, "", 1).tools, ToolFormat::kNone);
  chat.tools = {"{}"};
  EXPECT_EQ(AnswerOptions(chat, {}, kHermesTemplate, "", 1).tools, ToolFormat::kHermes);
  EXPECT_EQ(AnswerOptions(chat, {}, "", "", 1).tools, ToolFormat::kNone);
  EXPECT_EQ(AnswerOptions(chat, ToolFormat::kMistral, kHermesTemplate, "", 1).tools, ToolFormat::kMistral);
  EXPECT_EQ(AnswerOptions(chat, ToolFormat::kNone, kHermesTemplate, "", 1).tools, ToolFormat::kNone);
  EXPECT_EQ(AnswerOptions(chat, {}, "", "a", 1).left_open, nullptr);
  EXPECT_NE(AnswerOptions(chat, {}, "", "a<think>\n", 1).left_open, nullptr);
}

TEST(AnswerReaderTest, KeepsTheTokensOfMarkers) {
  nlohmann::json file = ByteLevelFile({});
  for (const char* marker : {"[TOOL_CALLS]", "[/THINK]", "<|end|>"})
    file["added_tokens"].push_back({{"content", marker}, {"special", true}, {"normalized", false}});
  const auto tokenizer = LoadOrDie(file);
  const std::vector<int32_t> mistral = MarkerTokens(*tokenizer, {.tools = ToolFormat::kMistral});
  EXPECT_THAT(mistral, testing::UnorderedElementsAre(256, 257));
  EXPECT_THAT(MarkerTokens(*tokenizer, {.tools = ToolFormat::kHermes}), testing::ElementsAre(257));
  Detokenizer kept(*tokenizer, /*skip_special=*/true, {}, nullptr, mistral);
  EXPECT_EQ(kept.Add(256), "[TOOL_CALLS]");
  EXPECT_EQ(kept.Add(258), "");
  Detokenizer copy = kept;
  EXPECT_EQ(copy.Add(257), "[/THINK]");
}

OutputPiece Piece(int choice, std::string text) {
  OutputPiece piece;
  piece.choice = choice;
  piece.text = std::move(text);
  return piece;
}

OutputPiece Last(int choice, std::string text, FinishReason reason) {
  OutputPiece piece = Piece(choice, std::move(text));
  piece.finished = true;
  piece.reason = reason;
  return piece;
}

TEST(AnswerReaderTest, ReadsEachChoiceByItself) {
  AnswerReader reader({.tools = ToolFormat::kHermes, .id_seed = 1}, 2);
  EXPECT_THAT(reader.Read(Piece(0, "<thi")), testing::IsEmpty());
  EXPECT_EQ(reader.Read(Piece(1, "Yes ")),
            (std::vector<AnswerEvent>{{.kind = Kind::kContent, .text = "Yes"}}));
  EXPECT_EQ(reader.Read(Piece(0, "nk>Hm.")),
            (std::vector<AnswerEvent>{{.kind = Kind::kReasoning, .text = "Hm."}}));
  std::string ids[2];
  for (const int choice : {0, 1}) {
    const OutputPiece last = Last(choice, std::string("</think>") + kCall, FinishReason::kStop);
    const std::vector<AnswerEvent> events = reader.Read(last);
    const size_t first = choice == 0 ? 0 : 1;  // what closes nothing is content
    ASSERT_EQ(events.size(), first + 3);
    EXPECT_EQ(events[first].kind, Kind::kCallBegins);
    EXPECT_EQ(events[first].name, "f");
    EXPECT_EQ(events[first + 1], (AnswerEvent{.kind = Kind::kArguments, .text = "{\"x\": 1}"}));
    EXPECT_EQ(events[first + 2].kind, Kind::kCallEnds);
    EXPECT_EQ(reader.FinishReasonOf(last), "tool_calls");
    ids[choice] = events[first].id;
  }
  EXPECT_NE(ids[0], ids[1]);
}

TEST(AnswerReaderTest, GivesWhatWasHeldBackWithTheLastPiece) {
  AnswerReader reader({.tools = ToolFormat::kHermes}, 1);
  reader.Read(Piece(0, "a <tool"));
  const OutputPiece last = Last(0, "", FinishReason::kStop);
  EXPECT_EQ(reader.Read(last), (std::vector<AnswerEvent>{{.kind = Kind::kContent, .text = " <tool"}}));
  EXPECT_EQ(reader.FinishReasonOf(last), "stop");
}

TEST(AnswerReaderTest, AnAnswerThatReachesItsLengthSaysSo) {
  AnswerReader reader({.tools = ToolFormat::kHermes}, 1);
  const OutputPiece last = Last(0, kCall, FinishReason::kLength);
  reader.Read(last);
  EXPECT_EQ(reader.FinishReasonOf(last), "length");
}

}  // namespace
}  // namespace hydrad
