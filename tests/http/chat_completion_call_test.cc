#include "server/http/chat_completion_call.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "server/http/error_answer.h"

namespace hydrad {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

ChatCompletionCall Read(const std::string& body) {
  absl::StatusOr<ChatCompletionCall> call = ReadChatCompletionCall(body, "base");
  EXPECT_TRUE(call.ok()) << call.status() << body;
  if (call.ok()) return *std::move(call);
  ChatCompletionCall none;
  none.call.prompt = ChatPrompt();
  return none;
}
const ChatPrompt& ChatOf(const ChatCompletionCall& call) { return std::get<ChatPrompt>(call.call.prompt); }

std::string Refused(const std::string& fields,
                    const std::string& messages = R"([{"role": "user", "content": "x"}])") {
  const std::string body = R"({"messages": )" + messages + (fields.empty() ? "" : ", ") + fields + "}";
  const absl::Status status = ReadChatCompletionCall(body, "base").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << body;
  if (status.ok()) return "";
  const Json param = Json::parse(ErrorAnswer(status, {.prompt = "messages"}).body)["error"]["param"];
  return param.is_null() ? "" : param.get<std::string>();
}

TEST(ChatCompletionCallTest, AConversationWithTools) {
  const ChatCompletionCall call = Read(R"({
      "model": "sql", "messages": [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "name": "ann", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
        {"role": "assistant", "content": null, "refusal": null, "reasoning_content": "hm", "tool_calls": [
          {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{\"x\": 1}"}}]},
        {"role": "tool", "tool_call_id": "c1", "content": "7"}],
      "tools": [{"type": "function", "function": {"name": "f", "parameters": {"z": 1, "a": 2}}}], "tool_choice": "auto",
      "max_tokens": 5, "max_completion_tokens": 9, "logprobs": true, "top_logprobs": 2,
      "chat_template_kwargs": {"enable_thinking": false}, "response_format": {"type": "text"}, "user": "u",
      "stream": true, "hydrad": {"routing": true}})");
  const ChatPrompt& chat = ChatOf(call);
  ASSERT_EQ(chat.messages.size(), 4u);
  EXPECT_EQ(chat.messages[0].role, "system") << "which is what templates call it";
  EXPECT_EQ(std::get<std::string>(chat.messages[0].content), "Be brief.");
  EXPECT_EQ(chat.messages[1].name, "ann");
  EXPECT_THAT(std::get<std::vector<std::string>>(chat.messages[1].content), ElementsAre("a", "b"));
  EXPECT_TRUE(std::holds_alternative<std::monostate>(chat.messages[2].content));
  EXPECT_EQ(chat.messages[2].reasoning_content, "hm");
  ASSERT_EQ(chat.messages[2].tool_calls.size(), 1u);
  EXPECT_EQ(chat.messages[2].tool_calls[0].name, "f");
  EXPECT_EQ(chat.messages[2].tool_calls[0].arguments, R"({"x": 1})");
  EXPECT_EQ(chat.messages[3].tool_call_id, "c1");
  EXPECT_THAT(chat.tools,
              ElementsAre(R"({"type":"function","function":{"name":"f","parameters":{"z":1,"a":2}}})"));
  EXPECT_EQ(chat.template_arguments, R"({"enable_thinking":false})");
  EXPECT_TRUE(chat.take_apart);
  EXPECT_EQ(call.call.adapter, "sql");
  EXPECT_EQ(call.call.stopping.max_tokens, 9) << "the later name counts";
  EXPECT_EQ(call.call.output.logprobs, 2);
  EXPECT_TRUE(call.call.output.routing && call.wishes.hydrad && call.wishes.stream);
}

TEST(ChatCompletionCallTest, WhatIsLeftOutIsLeftToTheDefaults) {
  const ChatCompletionCall call =
      Read(R"({"messages": [{"role": "user", "content": "x"}], "logprobs": false})");
  EXPECT_EQ(call.call.stopping.max_tokens, std::nullopt);
  EXPECT_EQ(call.call.output.logprobs, std::nullopt);
  EXPECT_EQ(ChatOf(call).template_arguments, "");
  EXPECT_EQ(ChatOf(call).add_generation_prompt, std::nullopt);
  EXPECT_EQ(Read(R"({"messages": [], "max_tokens": 5})").call.stopping.max_tokens, 5);
  EXPECT_EQ(Read(R"({"messages": [], "logprobs": true})").call.output.logprobs, 0);
}

TEST(ChatCompletionCallTest, ToolsThatMayNotBeCalledAreNotTold) {
  EXPECT_TRUE(ChatOf(Read(R"({"messages": [], "tools": [{}], "tool_choice": "none"})")).tools.empty());
}

TEST(ChatCompletionCallTest, WhatCannotBeDoneIsRefusedByName) {
  EXPECT_EQ(Refused(R"("tool_choice": "required")"), "tool_choice");
  EXPECT_EQ(Refused(R"("tool_choice": {"type": "function", "function": {"name": "f"}})"), "tool_choice");
  EXPECT_EQ(Refused(R"("parallel_tool_calls": false)"), "parallel_tool_calls");
  EXPECT_EQ(Refused(R"("top_logprobs": 2)"), "top_logprobs");
  EXPECT_EQ(Refused(R"("modalities": ["text", "audio"])"), "modalities");
  EXPECT_EQ(Refused(R"("reasoning_effort": "low")"), "reasoning_effort");
  EXPECT_EQ(Refused(R"("functions": [])"), "functions");
  EXPECT_EQ(Refused(R"("chat_template_kwargs": [])"), "chat_template_kwargs");
  EXPECT_EQ(Refused(R"("tools": {})"), "tools");
  EXPECT_EQ(Refused(R"("tools": [1])"), "tools[0].type");
  EXPECT_EQ(Refused(R"("tools": [{"type": "custom", "custom": {"name": "f"}}])"), "tools[0].type");
  EXPECT_EQ(Refused(R"("tools": [{"type": "function", "function": {}}])"), "tools[0].function.name");
}

TEST(ChatCompletionCallTest, WhatIsWrongInAMessageIsNamedByItsPlace) {
  EXPECT_EQ(Refused("", "1"), "messages");
  EXPECT_EQ(Refused("", "[1]"), "messages[0]");
  EXPECT_EQ(Refused("", R"([{"role": 1}])"), "messages[0].role");
  EXPECT_EQ(Refused("", R"([{"role": "user", "content": 1}])"), "messages[0].content");
  EXPECT_EQ(Refused("", R"([{"role": "assistant"}, {"role": "user", "content": null}])"),
            "messages[1].content");
  EXPECT_EQ(Refused("", R"([{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}])"),
            "messages[0].content[0]");
  EXPECT_EQ(Refused("", R"([{"role": "user", "content": [{"type": "text", "text": 1}]}])"),
            "messages[0].content[0].text");
  EXPECT_EQ(Refused("", R"([{"role": "user", "content": "x", "audio": {}}])"), "messages[0].audio");
  EXPECT_EQ(Refused("", R"([{"role": "a"}, {"role": "a", "tool_calls": [{"type": "other"}]}])"),
            "messages[1].tool_calls[0].type");
  EXPECT_EQ(Refused("", R"([{"role": "a", "tool_calls": [{"function": {"name": 1}}]}])"),
            "messages[0].tool_calls[0].function.name");
  const absl::Status image =
      ReadChatCompletionCall(R"({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]})",
                             "base")
          .status();
  EXPECT_THAT(std::string(image.message()), HasSubstr("'image_url'"));
}

}  // namespace
}  // namespace hydrad
