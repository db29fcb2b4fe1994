#include "server/rpc/memory_of.h"

#include <gtest/gtest.h>

namespace hydrad {
namespace {

v1::Logprob Logprob(int top) {
  v1::Logprob logprob;
  logprob.mutable_token()->set_token(1);
  logprob.mutable_token()->set_bytes(" the");
  for (int i = 0; i < top; ++i) {
    logprob.add_top()->set_token(i);
    if (i % 2 == 0) logprob.mutable_top(i)->set_bytes(std::string(static_cast<size_t>(3 * i), 'x'));
  }
  return logprob;
}

// At least what protobuf says, and not so much more that bounds mean nothing.
void Expect(const v1::GenerateResponse& message, const char* what) {
  const size_t least = message.SpaceUsedLong();
  EXPECT_GE(MemoryOf(message), least) << what;
  EXPECT_LE(MemoryOf(message), 2 * least + 200) << what;
}

TEST(MemoryOfTest, BoundsWhatProtobufSays) {
  v1::GenerateResponse message;
  Expect(message, "empty");
  message.mutable_chunk()->set_text("a");
  Expect(message, "one letter");
  message.mutable_chunk()->set_text(std::string(1000, 'a'));
  Expect(message, "a long text");
  message.mutable_chunk()->set_stop(std::string(100, 'a'));
  for (int i = 0; i < 7; ++i) message.mutable_chunk()->add_token_ids(i);
  Expect(message, "a stop and ids");
  for (int i = 0; i < 9; ++i) *message.mutable_chunk()->add_logprobs() = Logprob(20);
  Expect(message, "log-probabilities");
  message.mutable_chunk()->set_reasoning(std::string(50, 'a'));
  for (int i = 0; i < 5; ++i) {
    v1::CalledTool& call = *message.mutable_chunk()->add_tool_calls();
    call.set_id("123456789");
    call.set_name("f");
    call.set_arguments(std::string(static_cast<size_t>(20 * i), 'x'));
  }
  Expect(message, "calls of functions");
  v1::Start& start = *message.mutable_start();
  start.set_adapter(std::string(100, 'a'));
  start.set_request_id("req-0123456789abcdef0123456789abcdef");
  Expect(message, "a start");
  for (int i = 0; i < 5; ++i) start.add_adapters()->set_name(std::string(20, 'b'));
  for (int i = 0; i < 5; ++i) start.mutable_route()->add_votes("legal");
  for (int i = 0; i < 100; ++i) *start.add_prompt_logprobs() = Logprob(i % 21);
  Expect(message, "a start with everything");
  for (int i = 0; i < 30; ++i) message.mutable_end()->add_routing()->add_routers()->add_mean(0.5f);
  Expect(message, "an end");
}

TEST(MemoryOfTest, IsSeveralTimesTheWire) {
  v1::GenerateResponse message;
  *message.mutable_chunk()->add_logprobs() = Logprob(20);
  EXPECT_GT(MemoryOf(message), 2 * message.ByteSizeLong());
}

}  // namespace
}  // namespace hydrad
