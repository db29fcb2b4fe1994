#include "server/front/chat_prompt.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "server/front/error_details.h"

namespace hydrad {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::StartsWith;

constexpr char kTemplate[] =
    "{{ bos_token }}{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}";
constexpr RequestLimits kLimits = {.vocab_size = 1000, .max_context = 16, .max_prompt_bytes = 4096};
constexpr std::chrono::system_clock::time_point kNow{};

ChatMessage Said(const std::string& role, const std::string& text) { return {.role = role, .content = text}; }

ChatFormat FormatOf(std::map<std::string, std::string> templates) {
  return ChatFormat(ChatFiles{.templates = std::move(templates), .tokens = {{"bos_token", "<s>"}}});
}

absl::StatusOr<ChatTemplate::Rendered> Render(const ChatPrompt& chat, const std::string& source = kTemplate) {
  return RenderChat(chat, FormatOf({{"default", source}}), kLimits, kNow);
}

// The parts of a rendered text that are the client's.
std::vector<std::string> Theirs(const ChatTemplate::Rendered& rendered) {
  std::vector<std::string> parts;
  for (const ByteRange& range : rendered.from_data)
    parts.push_back(rendered.text.substr(range.begin, range.end - range.begin));
  return parts;
}

TEST(ChatContextTest, HoldsWhatTemplatesAskFor) {
  ChatPrompt chat;
  chat.messages.push_back({.role = "user", .content = std::vector<std::string>{"a", "b"}, .name = "ann"});
  chat.messages.push_back({.role = "assistant",
                           .reasoning_content = "hm",
                           .tool_calls = {{"c1", "f", R"({"z": 1, "a": [2]})"}, {"", "g", ""}}});
  chat.messages.push_back({.role = "tool", .content = "", .tool_call_id = "c1"});
  chat.tools = {R"({"type": "function", "b": 1, "a": 2})"};
  chat.template_arguments = R"({"enable_thinking": false, "documents": [1]})";
  EXPECT_EQ(ChatContext(chat).dump(),
            R"({"messages":[{"role":"user","content":"a\nb","name":"ann"},)"
            R"({"role":"assistant","content":null,"reasoning_content":"hm","tool_calls":[)"
            R"({"id":"c1","type":"function","function":{"name":"f","arguments":{"z":1,"a":[2]}}},)"
            R"({"type":"function","function":{"name":"g","arguments":{}}}]},)"
            R"({"role":"tool","content":"","tool_call_id":"c1"}],)"
            R"("tools":[{"type":"function","b":1,"a":2}],"documents":[1],)"
            R"("add_generation_prompt":true,"enable_thinking":false})");
  const Json bare = ChatContext({.messages = {Said("user", "x")}, .add_generation_prompt = false});
  EXPECT_TRUE(bare["tools"].is_null());
  EXPECT_EQ(bare["add_generation_prompt"], false);
}

TEST(RenderChatTest, TellsTheClientsTextFromTheTemplates) {
  const auto rendered = Render({.messages = {Said("user", "Hi<|end|>"), Said("assistant", "")}});
  ASSERT_TRUE(rendered.ok()) << rendered.status();
  EXPECT_EQ(rendered->text, "<s><|user|>Hi<|end|><|end|><|assistant|><|end|><|assistant|>");
  EXPECT_THAT(Theirs(*rendered), ElementsAre("Hi<|end|>"));
}

TEST(RenderChatTest, TheFinalMessageGoesOn) {
  ChatPrompt chat{.messages = {Said("user", "one"), Said("assistant", "one, two ")},
                  .continue_final_message = true};
  const auto kept = Render(chat);
  ASSERT_TRUE(kept.ok()) << kept.status();
  EXPECT_EQ(kept->text, "<s><|user|>one<|end|><|assistant|>one, two ");
  EXPECT_THAT(Theirs(*kept), ElementsAre("one", "one, two "));
  const auto trimmed = Render(chat, "{{ messages[-1].content | trim }}<|end|>{{ messages[0].content }}");
  ASSERT_TRUE(trimmed.ok()) << trimmed.status();
  EXPECT_EQ(trimmed->text, "one, two");
  EXPECT_THAT(Theirs(*trimmed), ElementsAre("one, two"));
  const absl::Status changed = Render(chat, "{{ messages[-1].content | upper }}").status();
  EXPECT_EQ(ReasonOf(changed), "INVALID_FIELD");
  EXPECT_THAT(std::string(changed.message()), StartsWith("messages cannot be continued"));
}

TEST(RenderChatTest, WhatATemplateRefusesIsToldInItsWords) {
  const ChatPrompt chat{.messages = {Said("user", "x")}};
  const absl::Status refused = Render(chat, "{{ raise_exception('Roles must alternate.') }}").status();
  EXPECT_TRUE(absl::IsInvalidArgument(refused)) << refused;
  EXPECT_EQ(refused.message(), "messages is refused by the chat template: Roles must alternate.");
  EXPECT_EQ(DetailsOf(refused).violations[0].field, "messages");
  const absl::Status long_words = Render(chat, "{{ raise_exception('\u00e9' * 1000) }}").status();
  EXPECT_LE(long_words.message().size(), 600u);
  const absl::Status huge =
      Render(chat, "{% for i in range(40000) %}{{ 'abcdefgh' * 4 }}{% endfor %}").status();
  EXPECT_TRUE(absl::IsInvalidArgument(huge)) << huge;
}

TEST(RenderChatTest, ToolsHaveATemplateOfTheirOwnWhereThereIsOne) {
  const ChatFormat format = FormatOf({{"default", "plain"}, {"tool_use", "tools: {{ tools | length }}"}});
  ChatPrompt chat{.messages = {Said("user", "x")}};
  EXPECT_EQ(RenderChat(chat, format, kLimits, kNow)->text, "plain");
  chat.tools = {"{}"};
  EXPECT_EQ(RenderChat(chat, format, kLimits, kNow)->text, "tools: 1");
  EXPECT_EQ(RenderChat(chat, FormatOf({{"default", "plain"}}), kLimits, kNow)->text, "plain");
}

TEST(RenderChatTest, SaysWhyThereIsNoTemplate) {
  const ChatPrompt chat{.messages = {Said("user", "x")}};
  const auto why = [&](const ChatFormat& format) {
    const absl::Status status = RenderChat(chat, format, kLimits, kNow).status();
    EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
    EXPECT_EQ(ReasonOf(status), "NO_CHAT_TEMPLATE");
    EXPECT_EQ(status, format.status());
    return std::string(status.message());
  };
  EXPECT_TRUE(FormatOf({}).empty());
  EXPECT_EQ(why(FormatOf({})), "has no chat template");
  EXPECT_THAT(why(FormatOf({{"rag", ""}})), HasSubstr("'rag'"));
  EXPECT_THAT(why(FormatOf({{"default", "{% include 'x' %}"}})), HasSubstr("include"));
  EXPECT_THAT(why(ChatFormat(absl::InvalidArgumentError("tokenizer_config.json: is not JSON"))),
              HasSubstr("tokenizer_config.json"));
}

}  // namespace
}  // namespace hydrad
