#include "server/http/answer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "server/base/status.h"
#include "tests/fakes/fake_clock.h"

namespace hydrad {
namespace {

using testing::HasSubstr;

OutputPiece Piece(int choice, const std::string& text, std::vector<int32_t> tokens = {},
                  bool finished = false, FinishReason reason = FinishReason::kStop) {
  OutputPiece piece;
  piece.choice = choice;
  piece.text = text;
  for (const int32_t token : tokens)
    piece.logprobs.push_back({.token = token, .logprob = -0.5f, .top = {{token, -0.5f}, {token + 1, -1}}});
  piece.tokens = std::move(tokens);
  piece.finished = finished;
  piece.reason = reason;
  return piece;
}

Usage Used(int prompt, int cached, int generated) {
  Usage usage;
  usage.prompt_tokens = prompt;
  usage.cached_tokens = cached;
  usage.generated_tokens = generated;
  return usage;
}

// The token 5 writes "t5".
std::string Write(int32_t token) { return "t" + std::to_string(token); }

class AnswerTest : public testing::Test {
 protected:
  void Make(AnswerWishes wishes, size_t prompts = 1, bool logprobs = false, bool echo = false) {
    reply_ = std::make_shared<Reply>(
        Reply::Traits{.request_id = "r"}, [] {}, [] {});
    if (wishes.model.empty()) wishes.model = "tiny";
    std::vector<std::unique_ptr<AnswerShape>> shapes;
    for (size_t i = 0; i < prompts; ++i)
      shapes.push_back(std::make_unique<CompletionShape>(logprobs, echo, Write));
    answer_ = std::make_shared<Answer>(
        Answer::Options{.wishes = wishes, .created = 1700000000, .cancel = [this] { ++cancels_; }},
        std::move(shapes), reply_);
  }
  std::shared_ptr<TokenSink> Sink(size_t prompt = 0, int choices = 1, const std::string& echo = "") {
    AnswerHead head;
    head.request_id = "req-" + std::string(31, '0') + std::to_string(prompt);
    head.choices = choices;
    head.echo = echo;
    head.first_token = 1;
    return answer_->SinkFor(prompt, head);
  }
  std::string Bytes() {
    std::string bytes;
    reply_->Take(&bytes);
    reply_->Written();
    return bytes;
  }
  Json Body() {
    const std::string bytes = Bytes();
    return Json::parse(bytes.substr(bytes.find("\r\n\r\n") + 4));
  }
  // The data of all events so far.
  std::vector<std::string> Events() {
    std::vector<std::string> events;
    const std::string bytes = Bytes();
    for (size_t at = 0; (at = bytes.find("data: ", at)) != std::string::npos;) {
      at += 6;
      events.push_back(bytes.substr(at, bytes.find("\n\n", at) - at));
    }
    return events;
  }

  std::shared_ptr<Reply> reply_;
  std::shared_ptr<Answer> answer_;
  int cancels_ = 0;
};

TEST_F(AnswerTest, AWholeCompletion) {
  Make({});
  const auto sink = Sink(0, 2);
  sink->OnStart({});
  sink->OnPiece(Piece(1, "x"));
  sink->OnPiece(Piece(0, "a \"q\""));
  sink->OnPiece(Piece(0, "b", {}, true, FinishReason::kLength));
  sink->OnPiece(Piece(1, "", {}, true));
  sink->OnDone(absl::OkStatus(), Used(3, 2, 4));
  EXPECT_EQ(Body(),
            Json::parse(R"({"id": "cmpl-00000000000000000000000000000000", "object": "text_completion",
      "created": 1700000000, "model": "tiny", "choices": [
      {"index": 0, "text": "a \"q\"b", "logprobs": null, "finish_reason": "length"},
      {"index": 1, "text": "x", "logprobs": null, "finish_reason": "stop"}],
      "usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7,
                "prompt_tokens_details": {"cached_tokens": 2}}})"));
}

TEST_F(AnswerTest, LogProbabilitiesOfTheOutputAndOfAnEchoedPrompt) {
  Make({}, 1, /*logprobs=*/true, /*echo=*/true);
  const auto sink = Sink(0, 1, "t1t2");
  sink->OnStart({.prompt_logprobs = {{.token = 2, .logprob = -2, .top = {{7, -0.1f}}}}});
  sink->OnPiece(Piece(0, "t30t4", {30, 4}, true));
  sink->OnDone(absl::OkStatus(), {});
  const Json choice = Body()["choices"][0];
  EXPECT_EQ(choice["text"], "t1t2t30t4");
  EXPECT_EQ(choice["logprobs"], Json::parse(R"({"tokens": ["t1", "t2", "t30", "t4"],
      "token_logprobs": [null, -2.0, -0.5, -0.5],
      "top_logprobs": [null, {"t7": -0.10000000149011612}, {"t30": -0.5, "t31": -1.0}, {"t4": -0.5, "t5": -1.0}],
      "text_offset": [0, 2, 4, 7]})"));
}

TEST_F(AnswerTest, AStreamOfACompletion) {
  Make({.stream = true, .include_usage = true}, 1, /*logprobs=*/true);
  const auto sink = Sink();
  sink->OnStart({});
  EXPECT_TRUE(sink->OnPiece(Piece(0, "t1", {1})));
  EXPECT_TRUE(sink->OnPiece(Piece(0, "t2", {2}, true)));
  sink->OnDone(absl::OkStatus(), Used(3, 0, 2));
  const auto events = Events();
  ASSERT_EQ(events.size(), 4u);
  EXPECT_EQ(Json::parse(events[0]), Json::parse(R"({"id": "cmpl-00000000000000000000000000000000",
      "object": "text_completion", "created": 1700000000, "model": "tiny", "choices": [{"index": 0, "text": "t1",
      "logprobs": {"tokens": ["t1"], "token_logprobs": [-0.5], "top_logprobs": [{"t1": -0.5, "t2": -1.0}],
                   "text_offset": [0]}, "finish_reason": null}], "usage": null})"));
  const Json second = Json::parse(events[1])["choices"][0];
  EXPECT_EQ(second["finish_reason"], "stop");
  EXPECT_EQ(second["logprobs"]["text_offset"][0], 2) << "it goes on from the event before";
  EXPECT_EQ(Json::parse(events[2])["choices"], Json::array());
  EXPECT_EQ(Json::parse(events[2])["usage"]["total_tokens"], 5);
  EXPECT_EQ(events[3], "[DONE]");
}

TEST_F(AnswerTest, WithoutBeingAskedAStreamTellsNoUsage) {
  Make({.stream = true});
  const auto sink = Sink();
  sink->OnStart({});
  sink->OnPiece(Piece(0, "a", {}, true));
  sink->OnDone(absl::OkStatus(), {});
  const auto events = Events();
  ASSERT_EQ(events.size(), 2u);
  EXPECT_FALSE(Json::parse(events[0]).contains("usage"));
}

TEST_F(AnswerTest, ChoicesOfSeveralPromptsAreCountedThrough) {
  Make({}, 2);
  const auto first = Sink(0, 2), second = Sink(1, 2);
  second->OnStart({});
  second->OnPiece(Piece(0, "c", {}, true));
  second->OnPiece(Piece(1, "d", {}, true));
  second->OnDone(absl::OkStatus(), Used(1, 0, 1));
  first->OnStart({});
  first->OnPiece(Piece(0, "a", {}, true));
  first->OnPiece(Piece(1, "b", {}, true));
  first->OnDone(absl::OkStatus(), Used(2, 1, 2));
  const Json body = Body();
  std::string texts;
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(body["choices"][i]["index"], i);
    texts += body["choices"][i]["text"].get<std::string>();
  }
  EXPECT_EQ(texts, "abcd");
  EXPECT_EQ(body["usage"]["total_tokens"], 6) << "of all prompts";
}

TEST_F(AnswerTest, ThePromptThatFailsFirstEndsTheOthers) {
  Make({.stream = true}, 2);
  const auto first = Sink(0), second = Sink(1);
  first->OnStart({});
  EXPECT_TRUE(first->OnPiece(Piece(0, "a")));
  second->OnDone(DataLoss("not a number"), {});
  EXPECT_EQ(cancels_, 1);
  EXPECT_FALSE(first->OnPiece(Piece(0, "b")));
  first->OnDone(Cancelled("by the false"), {});
  const auto events = Events();
  ASSERT_EQ(events.size(), 2u);
  EXPECT_EQ(Json::parse(events[1])["error"]["message"], "not a number");
}

TEST_F(AnswerTest, ASinkThatIsDroppedEndsTheAnswer) {
  Make({});
  Sink().reset();
  EXPECT_THAT(Bytes(), HasSubstr("HTTP/1.1 500 "));
}

TEST_F(AnswerTest, AWholeAnswerThatGrowsTooLargeEndsAndIsDropped) {
  FakeClock clock;
  const auto unread = std::make_shared<UnreadOutput>(UnreadBounds{.stream_bytes = 8000}, clock);
  Make({});
  reply_->Charge(*unread, "acme");
  const auto sink = Sink();
  sink->OnStart({});
  int pieces = 0;
  while (sink->OnPiece(Piece(0, std::string(500, 'a')))) ASSERT_LT(++pieces, 100);
  EXPECT_GT(pieces, 5);
  sink->OnDone(Cancelled("by the false"), {});
}

TEST_F(AnswerTest, WhatIsGatheredIsGivenBackWhenItIsSent) {
  FakeClock clock;
  const auto unread = std::make_shared<UnreadOutput>(UnreadBounds{}, clock);
  Make({});
  reply_->Charge(*unread, "acme");
  const auto sink = Sink();
  sink->OnStart({});
  sink->OnPiece(Piece(0, std::string(500, 'a'), {}, true));
  EXPECT_GE(unread->bytes(), 500u);
  sink->OnDone(absl::OkStatus(), {});
  Bytes();
  EXPECT_EQ(unread->bytes(), 0u);
}

TEST_F(AnswerTest, WhatOnlyHydradHasIsToldToThoseWhoAsk) {
  Make({.hydrad = true});
  AnswerHead head;
  head.request_id = "req-1";
  head.adapters = {{"a", 1}, {"b", -0.5f}};
  const auto sink = answer_->SinkFor(0, head);
  OutputStart start;
  start.generations = {4, 5};
  start.approximate = true;
  start.route = RouteTaken{.decision = Decision::kVote, .expert = "law", .votes = {"law", "tax"}};
  sink->OnStart(start);
  sink->OnPiece(Piece(0, "x", {}, true));
  Usage usage;
  usage.routing.push_back({.adapter = "a",
                           .rows = 7,
                           .routers = {{.layer = 1, .projection = Projection(0), .mean = {0.25f, 0.75f}}},
                           .top = {{1, 0}}});
  usage.decode = std::chrono::milliseconds(1500);
  sink->OnDone(absl::OkStatus(), usage);
  const Json own = Body()["hydrad"];
  EXPECT_EQ(own["request_id"], "req-1");
  EXPECT_EQ(own["adapters"], Json::parse(R"([{"name": "a", "weight": 1.0, "generation": 4},
                                             {"name": "b", "weight": -0.5, "generation": 5}])"));
  EXPECT_EQ(own["approximate"], true);
  EXPECT_EQ(own["route"], Json::parse(R"({"decision": "vote", "expert": "law", "votes": ["law", "tax"]})"));
  EXPECT_EQ(own["routing"][0]["routers"][0]["mean"], Json::parse("[0.25, 0.75]"));
  EXPECT_EQ(own["routing"][0]["choices"][0]["top"], Json::parse("[1, 0]"));
  EXPECT_EQ(own["decode_seconds"], 1.5);
}

}  // namespace
}  // namespace hydrad
