#include "server/rpc/output_sinks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "server/base/status.h"
#include "tests/fakes/fake_clock.h"

namespace hydrad {
namespace {

using testing::ElementsAre;

OutputPiece Piece(int choice, const std::string& text, std::vector<int32_t> tokens) {
  OutputPiece piece;
  piece.choice = choice;
  piece.text = text;
  for (const int32_t token : tokens) piece.logprobs.push_back({.token = token, .logprob = -0.5f, .top = {}});
  piece.tokens = std::move(tokens);
  return piece;
}

OutputPiece Last(int choice, const std::string& text, FinishReason reason, const std::string& stop = "") {
  OutputPiece piece = Piece(choice, text, {});
  piece.finished = true;
  piece.reason = reason;
  piece.stop = stop;
  return piece;
}

OutputHead Head(const std::string& echo = "") {
  OutputHead head;
  head.start.set_prompt_tokens(3);
  head.start.set_adapter("sql");
  head.echo = echo;
  head.token_ids = true;
  head.token_bytes = [](int32_t token) { return std::string(static_cast<size_t>(token), 'x'); };
  return head;
}

std::vector<v1::GenerateResponse> Drain(GenerateQueue& queue, absl::Status* status) {
  std::vector<v1::GenerateResponse> out;
  v1::GenerateResponse message;
  size_t bytes = 0;
  for (;;) {
    const auto next = queue.Take(&message, &bytes, status);
    if (next == GenerateQueue::Next::kMessage || next == GenerateQueue::Next::kLast) out.push_back(message);
    if (next != GenerateQueue::Next::kMessage) return out;
  }
}

class StreamSinkTest : public testing::Test {
 protected:
  std::shared_ptr<GenerateQueue> queue_ = std::make_shared<GenerateQueue>([] {});
  absl::Status status_;
};

TEST_F(StreamSinkTest, StartChunksEnd) {
  StreamSink sink(Head(), queue_);
  sink.OnStart({.prompt_logprobs = {{.token = 7, .logprob = -1, .top = {{9, -0.1f}}}}, .generations = {4}});
  EXPECT_TRUE(sink.OnPiece(Piece(0, "ab", {1, 2})));
  EXPECT_TRUE(sink.OnPiece(Last(0, "c", FinishReason::kStopString, "END")));
  Usage usage;
  usage.prompt_tokens = 3;
  usage.generated_tokens = 2;
  usage.decode = std::chrono::milliseconds(1500);
  usage.approximate = true;
  sink.OnDone(absl::OkStatus(), usage);
  const auto messages = Drain(*queue_, &status_);
  ASSERT_EQ(messages.size(), 4u);
  EXPECT_EQ(messages[0].start().adapter(), "sql");
  EXPECT_EQ(messages[0].start().prompt_logprobs(0).top(0).token(), 9);
  EXPECT_EQ(messages[0].start().prompt_logprobs(0).top(0).bytes(), "xxxxxxxxx");
  EXPECT_EQ(messages[1].chunk().text(), "ab");
  EXPECT_THAT(messages[1].chunk().token_ids(), ElementsAre(1, 2));
  EXPECT_EQ(messages[1].chunk().logprobs(1).token().token(), 2);
  EXPECT_EQ(messages[1].chunk().logprobs(1).token().bytes(), "xx");
  EXPECT_EQ(messages[1].chunk().finish_reason(), v1::FINISH_REASON_UNSPECIFIED);
  EXPECT_EQ(messages[2].chunk().finish_reason(), v1::FINISH_REASON_STOP);
  EXPECT_EQ(messages[2].chunk().stop(), "END");
  EXPECT_EQ(messages[3].end().usage().generated_tokens(), 2);
  EXPECT_EQ(messages[3].end().usage().decode_seconds(), 1.5);
  EXPECT_TRUE(messages[3].end().approximate());
}

TEST_F(StreamSinkTest, TheEchoComesBeforeEachChoiceOnce) {
  StreamSink sink(Head("Q: "), queue_);
  sink.OnStart({});
  sink.OnPiece(Piece(1, "b", {}));
  sink.OnPiece(Piece(0, "a", {}));
  sink.OnPiece(Piece(1, "c", {}));
  const auto messages = Drain(*queue_, &status_);
  ASSERT_EQ(messages.size(), 4u);
  EXPECT_EQ(messages[1].chunk().text(), "Q: b");
  EXPECT_EQ(messages[2].chunk().text(), "Q: a");
  EXPECT_EQ(messages[3].chunk().text(), "c");
}

TEST_F(StreamSinkTest, AnErrorBeforeTheStartSendsNoMessage) {
  StreamSink sink(Head(), queue_);
  sink.OnDone(Unavailable("shutting down"), {});
  EXPECT_TRUE(Drain(*queue_, &status_).empty());
  EXPECT_EQ(status_.code(), absl::StatusCode::kUnavailable);
}

TEST_F(StreamSinkTest, ASlowReaderCostsTheRequest) {
  FakeClock clock;
  const auto unread = std::make_shared<UnreadOutput>(UnreadBounds{.stream_bytes = 4000}, clock);
  queue_->set_account(unread->Open("acme", [](const absl::Status&) {}));
  StreamSink sink(Head(), queue_);
  sink.OnStart({});
  EXPECT_TRUE(sink.OnPiece(Piece(0, "a", {})));
  EXPECT_TRUE(sink.OnPiece(Piece(0, "b", {})));
  EXPECT_FALSE(sink.OnPiece(Piece(0, std::string(4000, 'c'), {})));
  sink.OnDone(Cancelled("stalled"), {});
  EXPECT_TRUE(Drain(*queue_, &status_).empty());
  EXPECT_EQ(status_.code(), absl::StatusCode::kResourceExhausted);
}

TEST(GatherSinkTest, AnAnswerThatGrowsTooLargeEndsAndIsDropped) {
  FakeClock clock;
  const auto unread = std::make_shared<UnreadOutput>(UnreadBounds{.stream_bytes = 4000}, clock);
  v1::GenerateResult result;
  absl::Status seen;
  GatherSink sink(Head(), 1, &result, unread->Open("acme", [](const absl::Status&) {}),
                  [&](const absl::Status& status) { seen = status; });
  sink.OnStart({});
  const size_t before = unread->bytes();
  EXPECT_TRUE(sink.OnPiece(Piece(0, std::string(500, 'a'), {1})));
  EXPECT_GE(unread->bytes(), before + 500);
  int pieces = 0;
  while (sink.OnPiece(Piece(0, std::string(500, 'a'), {1}))) ASSERT_LT(++pieces, 100);
  EXPECT_EQ(result.ByteSizeLong(), 0u) << "dropped at once";
  sink.OnDone(Cancelled("by the scheduler, because of the false"), {});
  EXPECT_EQ(seen.code(), absl::StatusCode::kResourceExhausted);
}

TEST_F(StreamSinkTest, ASinkThatIsDroppedEndsItsCall) {
  { StreamSink sink(Head(), queue_); }
  EXPECT_TRUE(Drain(*queue_, &status_).empty());
  EXPECT_EQ(status_.code(), absl::StatusCode::kInternal);
}

TEST(GatherSinkTest, ASinkThatIsDroppedEndsItsCall) {
  v1::GenerateResult result;
  absl::Status seen;
  {
    GatherSink sink(Head(), 1, &result, nullptr, [&](const absl::Status& status) { seen = status; });
  }
  EXPECT_EQ(seen.code(), absl::StatusCode::kInternal);
}

TEST(GatherSinkTest, JoinsEachChoice) {
  v1::GenerateResult result;
  int calls = 0;
  GatherSink sink(Head("> "), 2, &result, nullptr, [&](const absl::Status& status) {
    EXPECT_TRUE(status.ok());
    ++calls;
  });
  sink.OnStart({.prompt_logprobs = {{.token = 7, .logprob = -1, .top = {}}}, .generations = {4}});
  sink.OnPiece(Piece(1, "x", {4}));
  sink.OnPiece(Piece(0, "a", {1}));
  sink.OnPiece(Piece(0, "b", {2, 3}));
  sink.OnPiece(Last(0, "", FinishReason::kLength));
  sink.OnPiece(Last(1, "y", FinishReason::kStop));
  Usage usage;
  usage.generated_tokens = 4;
  sink.OnDone(absl::OkStatus(), usage);
  EXPECT_EQ(calls, 1);
  EXPECT_EQ(result.start().prompt_tokens(), 3);
  EXPECT_EQ(result.start().prompt_logprobs_size(), 1);
  ASSERT_EQ(result.choices_size(), 2);
  EXPECT_EQ(result.choices(0).text(), "> ab");
  EXPECT_THAT(result.choices(0).token_ids(), ElementsAre(1, 2, 3));
  EXPECT_EQ(result.choices(0).logprobs_size(), 3);
  EXPECT_EQ(result.choices(0).logprobs(0).token().bytes().size(),
            result.choices(0).logprobs(0).token().token());
  EXPECT_EQ(result.choices(0).finish_reason(), v1::FINISH_REASON_LENGTH);
  EXPECT_EQ(result.choices(1).choice(), 1);
  EXPECT_EQ(result.choices(1).text(), "> xy");
  EXPECT_EQ(result.choices(1).finish_reason(), v1::FINISH_REASON_STOP);
  EXPECT_EQ(result.usage().generated_tokens(), 4);
}

OutputHead HeadOfChat(int choices) {
  OutputHead head = Head();
  head.token_ids = false;
  head.answer.emplace(AnswerParser::Options{.tools = ToolFormat::kHermes}, choices);
  return head;
}

OutputPiece Said(const std::string& text) { return Piece(0, text, {}); }

TEST_F(StreamSinkTest, TakesAnAnswerApart) {
  StreamSink sink(HeadOfChat(1), queue_);
  sink.OnStart({});
  for (const char* text : {"<think>\n", "Hm.", "</think>", "I look. <tool",
                           "_call>{\"name\": \"f\", \"arguments\": {", "\"x\": 1}}", "</tool_call>"})
    EXPECT_TRUE(sink.OnPiece(Said(text)));
  EXPECT_TRUE(sink.OnPiece(Last(0, "", FinishReason::kStop)));
  sink.OnDone(absl::OkStatus(), {});
  const auto messages = Drain(*queue_, &status_);
  ASSERT_EQ(messages.size(), 7u) << "a start, five chunks that say something, and the end";
  EXPECT_EQ(messages[1].chunk().reasoning(), "Hm.");
  EXPECT_EQ(messages[2].chunk().text(), "I look.");
  ASSERT_EQ(messages[3].chunk().tool_calls_size(), 1);
  EXPECT_EQ(messages[3].chunk().tool_calls(0).name(), "f");
  EXPECT_EQ(messages[3].chunk().tool_calls(0).id().size(), 9u);
  EXPECT_EQ(messages[3].chunk().tool_calls(0).arguments(), "{");
  EXPECT_EQ(messages[4].chunk().tool_calls(0).id(), "");
  EXPECT_EQ(messages[4].chunk().tool_calls(0).arguments(), "\"x\": 1}");
  EXPECT_EQ(messages[5].chunk().finish_reason(), v1::FINISH_REASON_TOOL_CALLS);
}

TEST_F(StreamSinkTest, IdsAreSentThoughTheirTextIsHeldBack) {
  OutputHead head = HeadOfChat(1);
  head.token_ids = true;
  StreamSink sink(std::move(head), queue_);
  sink.OnStart({});
  sink.OnPiece(Piece(0, "<thi", {5}));
  const auto messages = Drain(*queue_, &status_);
  ASSERT_EQ(messages.size(), 2u);
  EXPECT_THAT(messages[1].chunk().token_ids(), ElementsAre(5));
}

TEST(GatherSinkTest, TakesAnAnswerApart) {
  v1::GenerateResult result;
  GatherSink sink(HeadOfChat(2), 2, &result, nullptr,
                  [](const absl::Status& status) { EXPECT_TRUE(status.ok()); });
  sink.OnStart({});
  const std::string call = "<tool_call>{\"name\": \"f\", \"arguments\": {\"x\": 1}}</tool_call>";
  for (const char c : "<think>Hm.</think>So." + call + call) sink.OnPiece(Said(std::string(1, c)));
  sink.OnPiece(Last(0, "", FinishReason::kStop));
  sink.OnPiece(Last(1, "No.", FinishReason::kStop));
  sink.OnDone(absl::OkStatus(), {});
  EXPECT_EQ(result.choices(0).reasoning(), "Hm.");
  EXPECT_EQ(result.choices(0).text(), "So.");
  EXPECT_EQ(result.choices(0).finish_reason(), v1::FINISH_REASON_TOOL_CALLS);
  ASSERT_EQ(result.choices(0).tool_calls_size(), 2);
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(result.choices(0).tool_calls(i).index(), i);
    EXPECT_EQ(result.choices(0).tool_calls(i).name(), "f");
    EXPECT_EQ(result.choices(0).tool_calls(i).arguments(), "{\"x\": 1}");
  }
  EXPECT_EQ(result.choices(1).text(), "No.");
  EXPECT_EQ(result.choices(1).finish_reason(), v1::FINISH_REASON_STOP);
}

TEST_F(StreamSinkTest, TheStartTellsTheRouteTaken) {
  StreamSink sink(Head(), queue_);
  sink.OnStart({.prompt_logprobs = {},
                .route = RouteTaken{.decision = Decision::kVote, .expert = "a", .votes = {"a", "b", "a"}}});
  sink.OnDone(absl::OkStatus(), {});
  const auto messages = Drain(*queue_, &status_);
  const v1::ExpertRoute& route = messages[0].start().route();
  EXPECT_EQ(route.decision(), v1::DECISION_VOTE);
  EXPECT_EQ(route.expert(), "a");
  EXPECT_THAT(route.votes(), ElementsAre("a", "b", "a"));
}

TEST(GatherSinkTest, PassesOnWhyItIsNotComplete) {
  v1::GenerateResult result;
  absl::Status seen;
  GatherSink sink(Head(), 1, &result, nullptr, [&](const absl::Status& status) { seen = status; });
  sink.OnPiece(Piece(0, "a", {}));
  sink.OnDone(DataLoss("NaN in the logits"), {});
  EXPECT_EQ(seen.code(), absl::StatusCode::kDataLoss);
}

}  // namespace
}  // namespace hydrad
