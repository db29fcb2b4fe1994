#include "server/http/chat_shape.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "server/base/json.h"

namespace hydrad {
namespace {

OutputPiece Piece(const std::string& text, bool finished = false, int choice = 0) {
  OutputPiece piece;
  piece.choice = choice;
  piece.text = text;
  piece.finished = finished;
  piece.reason = FinishReason::kStop;
  return piece;
}

std::string Write(int32_t token) { return token == 9 ? "\xe2\x82" : "t" + std::to_string(token); }

ChatShape Make(bool logprobs = false, int choices = 1) {
  ChatShape shape(logprobs, Write);
  AnswerHead head;
  head.choices = choices;
  head.answer = AnswerParser::Options{.tools = ToolFormat::kHermes, .id_seed = 7};
  shape.Begin(head, {}, 0);
  return shape;
}

constexpr char kAnswer[] =
    "<think>hm</think>\n\nWell, <tool_call>\n{\"name\": \"f\", \"arguments\": {\"x\": 1}}\n</tool_call>";

TEST(ChatShapeTest, AWholeMessage) {
  ChatShape shape = Make(false, 2);
  shape.Add(Piece("Hel"));
  shape.Add(Piece("x", true, 1));
  EXPECT_GE(shape.Add(Piece("lo", true)), 2u);
  EXPECT_EQ(Json::parse("[" + shape.Choices() + "]"), Json::parse(R"([
      {"index": 0, "message": {"role": "assistant", "content": "Hello", "refusal": null}, "logprobs": null,
       "finish_reason": "stop"},
      {"index": 1, "message": {"role": "assistant", "content": "x", "refusal": null}, "logprobs": null,
       "finish_reason": "stop"}])"));
}

TEST(ChatShapeTest, ReasoningAndCallsStandApart) {
  ChatShape shape = Make();
  shape.Add(Piece(kAnswer, true));
  const Json choice = Json::parse(shape.Choices());
  const Json& message = choice["message"];
  EXPECT_EQ(message["reasoning_content"], "hm");
  EXPECT_EQ(message["content"], "Well,");
  ASSERT_EQ(message["tool_calls"].size(), 1u);
  EXPECT_EQ(message["tool_calls"][0]["type"], "function");
  EXPECT_EQ(message["tool_calls"][0]["function"]["name"], "f");
  EXPECT_EQ(message["tool_calls"][0]["function"]["arguments"], R"({"x": 1})");
  EXPECT_NE(message["tool_calls"][0]["id"], "");
  EXPECT_EQ(choice["finish_reason"], "tool_calls");
}

TEST(ChatShapeTest, AStreamSaysTheSameHoweverItIsCut) {
  ChatShape whole = Make();
  whole.Add(Piece(kAnswer, true));
  const Json want = Json::parse(whole.Choices())["message"];
  const std::string text = kAnswer;
  for (size_t cut = 1; cut <= 9; ++cut) {
    ChatShape shape = Make();
    EXPECT_EQ(Json::parse(shape.First())["delta"]["role"], "assistant");
    std::string content, reasoning, arguments, id, finish;
    for (size_t at = 0; at < text.size(); at += cut) {
      const std::string event = shape.Delta(Piece(text.substr(at, cut), at + cut >= text.size()));
      if (event.empty()) continue;
      const Json choice = Json::parse(event);
      const Json& delta = choice["delta"];
      if (delta.contains("content")) content += delta["content"].get<std::string>();
      if (delta.contains("reasoning_content")) reasoning += delta["reasoning_content"].get<std::string>();
      if (delta.contains("tool_calls")) {
        for (const Json& call : delta["tool_calls"]) {
          if (call.contains("id")) id = call["id"].get<std::string>();
          arguments += call["function"]["arguments"].get<std::string>();
        }
      }
      if (!choice["finish_reason"].is_null()) finish = choice["finish_reason"].get<std::string>();
    }
    EXPECT_EQ(content, want["content"]) << cut;
    EXPECT_EQ(reasoning, want["reasoning_content"]) << cut;
    EXPECT_EQ(arguments, want["tool_calls"][0]["function"]["arguments"]) << cut;
    EXPECT_EQ(id, want["tool_calls"][0]["id"]) << cut;
    EXPECT_EQ(finish, "tool_calls");
  }
}

TEST(ChatShapeTest, LogProbabilitiesTellTheBytes) {
  OutputPiece piece = Piece("t1", true);
  piece.logprobs = {{.token = 1, .logprob = -0.5f, .top = {{1, -0.5f}, {9, -1}}}};
  ChatShape shape = Make(true);
  const Json want = Json::parse(R"([{"token": "t1", "logprob": -0.5, "bytes": [116, 49], "top_logprobs": [
      {"token": "t1", "logprob": -0.5, "bytes": [116, 49]},
      {"token": "bytes:\\xe2\\x82", "logprob": -1.0, "bytes": [226, 130]}]}])");
  EXPECT_EQ(Json::parse(shape.Delta(piece))["logprobs"]["content"], want);
  ChatShape gathered = Make(true);
  gathered.Add(piece);
  EXPECT_EQ(Json::parse(gathered.Choices())["logprobs"]["content"], want);
}

TEST(ChatShapeTest, WhatTellsNothingIsNoEvent) {
  ChatShape shape = Make();
  EXPECT_EQ(shape.Delta(Piece("<think>")), "");
  EXPECT_NE(shape.Delta(Piece("", true)), "") << "the end is told";
}

}  // namespace
}  // namespace hydrad
