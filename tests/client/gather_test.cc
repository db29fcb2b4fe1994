#include "client/gather.h"

#include <gtest/gtest.h>

#include <tuple>

namespace hydrad {
namespace {

v1::GenerateResponse Chunk(int choice, const std::string& text, int id) {
  v1::GenerateResponse message;
  message.mutable_chunk()->set_choice(choice);
  message.mutable_chunk()->set_text(text);
  message.mutable_chunk()->add_token_ids(id);
  message.mutable_chunk()->add_logprobs()->mutable_token()->set_token(id);
  return message;
}

TEST(Gather, PutsInterleavedChoicesTogether) {
  v1::GenerateResult result;
  v1::GenerateResponse start, end;
  start.mutable_start()->set_generation(3);
  end.mutable_end()->mutable_usage()->set_generated_tokens(3);
  auto last = Chunk(1, "c", 12);
  last.mutable_chunk()->set_finish_reason(v1::FINISH_REASON_STOP);
  last.mutable_chunk()->set_stop("\n");
  for (const auto& message : {start, Chunk(1, "b", 11), Chunk(0, "a", 10), last, end})
    Gather(message, result);

  EXPECT_EQ(result.start().generation(), 3);
  EXPECT_EQ(result.usage().generated_tokens(), 3);
  ASSERT_EQ(result.choices_size(), 2);
  EXPECT_EQ(result.choices(0).text(), "a");
  EXPECT_EQ(result.choices(0).finish_reason(), v1::FINISH_REASON_UNSPECIFIED);
  EXPECT_EQ(result.choices(1).choice(), 1);
  EXPECT_EQ(result.choices(1).text(), "bc");
  EXPECT_EQ(result.choices(1).token_ids_size(), 2);
  EXPECT_EQ(result.choices(1).logprobs(1).token().token(), 12);
  EXPECT_EQ(result.choices(1).stop(), "\n");
}

TEST(Gather, LaterEmptyChunksKeepTheFinishReason) {
  v1::GenerateResult result;
  auto last = Chunk(0, "a", 1);
  last.mutable_chunk()->set_finish_reason(v1::FINISH_REASON_LENGTH);
  Gather(last, result);
  Gather(Chunk(0, "", 2), result);
  EXPECT_EQ(result.choices(0).finish_reason(), v1::FINISH_REASON_LENGTH);
}

TEST(Gather, PutsCallsTogether) {
  v1::GenerateResult result;
  for (const auto& [index, name, arguments] :
       {std::tuple{0, "f", "{"}, {0, "", "}"}, {1, "g", ""}, {1, "", "{\"x\""}, {1, "", ": 1}"}}) {
    v1::GenerateResponse message;
    v1::CalledTool& call = *message.mutable_chunk()->add_tool_calls();
    call.set_index(index);
    call.set_name(name);
    call.set_arguments(arguments);
    message.mutable_chunk()->set_reasoning("a");
    Gather(message, result);
  }
  EXPECT_EQ(result.choices(0).reasoning(), "aaaaa");
  ASSERT_EQ(result.choices(0).tool_calls_size(), 2);
  EXPECT_EQ(result.choices(0).tool_calls(0).name(), "f");
  EXPECT_EQ(result.choices(0).tool_calls(0).arguments(), "{}");
  EXPECT_EQ(result.choices(0).tool_calls(1).name(), "g");
  EXPECT_EQ(result.choices(0).tool_calls(1).arguments(), "{\"x\": 1}");
}

TEST(Gather, ChoicesOutOfRangeAreDropped) {
  v1::GenerateResult result;
  Gather(Chunk(-1, "a", 1), result);
  Gather(Chunk(1'000'000'000, "a", 1), result);
  EXPECT_EQ(result.choices_size(), 0);
}

}  // namespace
}  // namespace hydrad
