#include "server/http/score_call.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "server/base/json.h"
#include "server/http/error_answer.h"

namespace hydrad {
namespace {

using testing::ElementsAre;

TEST(ScoreCallTest, APromptAndLabels) {
  const auto read = ReadScoreCall(R"({"model": "sql", "prompt": "x", "labels": ["a", "b"], "user": "u",
      "hydrad": {"expert": "e"}})",
                                  "base");
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(std::get<std::string>(read->call.prompt), "x");
  EXPECT_THAT(read->call.labels, ElementsAre("a", "b"));
  EXPECT_EQ(read->call.adapter, "sql");
  EXPECT_EQ(read->call.expert, "e");
  EXPECT_TRUE(read->wishes.hydrad);
}

TEST(ScoreCallTest, IdsOrAConversation) {
  const auto ids = ReadScoreCall(R"({"prompt": [1, 2], "labels": ["a"]})", "base");
  EXPECT_THAT(std::get<std::vector<int32_t>>(ids->call.prompt), ElementsAre(1, 2));
  EXPECT_EQ(ids->call.adapter, "");
  const auto chat = ReadScoreCall(R"({"messages": [{"role": "user", "content": "x"}], "labels": ["a"],
      "chat_template_kwargs": {"enable_thinking": false}})",
                                  "base");
  ASSERT_TRUE(chat.ok()) << chat.status();
  const auto& prompt = std::get<ChatPrompt>(chat->call.prompt);
  EXPECT_EQ(prompt.messages.size(), 1u);
  EXPECT_EQ(prompt.template_arguments, R"({"enable_thinking":false})");
  EXPECT_FALSE(prompt.take_apart);
}

TEST(ScoreCallTest, WhatIsOfOtherEndpointsIsRefusedByName) {
  const std::pair<const char*, const char*> cases[] = {
      {R"({"labels": ["a"]})", "prompt"},
      {R"({"prompt": "x"})", "labels"},
      {R"({"prompt": "x", "labels": "a"})", "labels"},
      {R"({"prompt": "x", "labels": []})", "labels"},
      {R"({"prompt": "x", "labels": [1]})", "labels"},
      {R"({"prompt": ["x", "y"], "labels": ["a"]})", "prompt"},
      {R"({"prompt": "x", "messages": [], "labels": ["a"]})", "prompt"},
      {R"({"prompt": "x", "labels": ["a"], "stream": true})", "stream"},
      {R"({"prompt": "x", "labels": ["a"], "temperature": 1})", "temperature"},
      {R"({"prompt": "x", "labels": ["a"], "text_1": "x"})", "text_1"},
  };
  for (const auto& [body, param] : cases) {
    const auto read = ReadScoreCall(body, "base");
    ASSERT_FALSE(read.ok()) << body;
    EXPECT_EQ(Json::parse(ErrorAnswer(read.status()).body)["error"]["param"], param) << body;
  }
}

}  // namespace
}  // namespace hydrad
