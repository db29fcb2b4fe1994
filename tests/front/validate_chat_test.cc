#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "server/front/error_details.h"
#include "server/front/validate.h"

namespace hydrad {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr RequestLimits kLimits = {.vocab_size = 1000, .max_context = 16, .max_prompt_bytes = 400};

ChatMessage User(std::string text) {
  ChatMessage message;
  message.role = "user";
  message.content = std::move(text);
  return message;
}

ChatPrompt Hello() { return {.messages = {User("Hello.")}}; }

absl::Status Check(ChatPrompt chat) {
  GenerateCall call;
  call.prompt = std::move(chat);
  return Validate(call, kLimits);
}

std::vector<std::string> BadFieldsOf(ChatPrompt chat) {
  std::vector<std::string> fields;
  for (const FieldViolation& violation : DetailsOf(Check(std::move(chat))).violations)
    fields.push_back(violation.field);
  return fields;
}

TEST(ValidateChatTest, TakesAWholeConversation) {
  ChatPrompt chat = Hello();
  ChatMessage& parts = chat.messages.emplace_back();
  parts.role = "user";
  parts.content = std::vector<std::string>{"two", "parts", ""};
  ChatMessage& asks = chat.messages.emplace_back();
  asks.role = "assistant";
  asks.reasoning_content = "I should look.";
  asks.tool_calls = {{"call-1", "weather", R"({"city": "Bern"})"}, {"", "time", ""}};
  ChatMessage& answers = chat.messages.emplace_back(User("12 degrees"));
  answers.role = "tool";
  answers.tool_call_id = "call-1";
  answers.name = "weather";
  chat.tools = {R"({"type": "function", "function": {"name": "weather"}})"};
  chat.template_arguments = R"({"enable_thinking": false})";
  EXPECT_EQ(Check(std::move(chat)), absl::OkStatus());
}

TEST(ValidateChatTest, NamesEveryField) {
  EXPECT_THAT(BadFieldsOf({}), ElementsAre("messages"));
  const auto with = [](auto change) {
    ChatPrompt chat = Hello();
    chat.messages.push_back(User("again"));
    change(chat.messages[1]);
    return BadFieldsOf(std::move(chat));
  };
  EXPECT_THAT(with([](auto&) {}), IsEmpty());
  EXPECT_THAT(with([](auto& m) { m.role = ""; }), ElementsAre("messages[1].role"));
  EXPECT_THAT(with([](auto& m) { m.role = "<|im_end|>"; }), ElementsAre("messages[1].role"));
  EXPECT_THAT(with([](auto& m) { m.role = std::string(65, 'a'); }), ElementsAre("messages[1].role"));
  EXPECT_THAT(with([](auto& m) { m.content = "\xff"; }), ElementsAre("messages[1].content"));
  EXPECT_THAT(with([](auto& m) {
                m.content = std::vector<std::string>{"a", "\xff"};
              }),
              ElementsAre("messages[1].content[1]"));
  EXPECT_THAT(with([](auto& m) { m.content = std::vector<std::string>(257); }),
              ElementsAre("messages[1].content"));
  EXPECT_THAT(with([](auto& m) { m.reasoning_content = "\xff"; }),
              ElementsAre("messages[1].reasoning_content"));
  EXPECT_THAT(with([](auto& m) { m.name = std::string(257, 'a'); }), ElementsAre("messages[1].name"));
  EXPECT_THAT(with([](auto& m) { m.tool_call_id = "\xff"; }), ElementsAre("messages[1].tool_call_id"));
  EXPECT_THAT(with([](auto& m) {
                m.tool_calls.resize(2, {"", "f", ""});
                m.tool_calls[1].name = "";
              }),
              ElementsAre("messages[1].tool_calls[1].name"));
  EXPECT_THAT(with([](auto& m) {
                m.tool_calls = {{"\xff", "f", ""}};
              }),
              ElementsAre("messages[1].tool_calls[0].id"));
  for (const char* arguments : {"{", "[]", "1", "{} {}"}) {
    EXPECT_THAT(with([&](auto& m) {
                  m.tool_calls = {{"", "f", arguments}};
                }),
                ElementsAre("messages[1].tool_calls[0].arguments"));
  }
  EXPECT_THAT(with([](auto& m) {
                m.tool_calls.resize(129, {"", "f", ""});
              }),
              ElementsAre("messages[1].tool_calls"));
}

TEST(ValidateChatTest, NamesToolsAndArguments) {
  ChatPrompt chat = Hello();
  chat.tools = {"{}", "null"};
  EXPECT_THAT(BadFieldsOf(chat), ElementsAre("tools[1]"));
  chat.tools.assign(129, "{}");
  EXPECT_THAT(BadFieldsOf(chat), ElementsAre("tools"));
  chat.tools = {std::string(40, '[') + std::string(40, ']')};
  EXPECT_THAT(std::string(Check(chat).message()), HasSubstr("nested too deeply"));
  chat.tools.clear();
  chat.template_arguments = "[]";
  EXPECT_THAT(BadFieldsOf(chat), ElementsAre("template_arguments"));
  chat.template_arguments = R"({"messages": []})";
  EXPECT_THAT(BadFieldsOf(chat), ElementsAre("template_arguments"));
  chat.template_arguments = R"({"my_token": "<|im_end|>"})";
  EXPECT_THAT(BadFieldsOf(chat), ElementsAre("template_arguments"));
  chat.template_arguments = "{}";
  chat.continue_final_message = true;
  EXPECT_THAT(BadFieldsOf(chat), IsEmpty());
  chat.add_generation_prompt = true;
  EXPECT_THAT(BadFieldsOf(chat), ElementsAre("add_generation_prompt"));
}

TEST(ValidateChatTest, BoundsAllBytesTogether) {
  ChatPrompt chat;
  for (int i = 0; i < 5; ++i) chat.messages.push_back(User(std::string(60, 'a')));
  chat.tools = {R"({"name": ")" + std::string(60, 'a') + "\"}"};
  EXPECT_THAT(BadFieldsOf(chat), IsEmpty());
  chat.messages[0].content = std::string(100, 'a');
  EXPECT_THAT(BadFieldsOf(chat), ElementsAre("messages"));
  chat.messages[0].content = std::string(401, 'a');  // is not looked at any further
  EXPECT_THAT(BadFieldsOf(chat), ElementsAre("messages[0].content", "messages"));
  chat.messages.assign(2049, User(""));
  EXPECT_THAT(BadFieldsOf(chat), ElementsAre("messages"));
}

}  // namespace
}  // namespace hydrad
