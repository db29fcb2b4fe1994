#include <csignal>
#include <thread>

#include "tests/client/command_runner.h"

namespace hydrad {
namespace {

class ChatCommand : public CommandTest {
 protected:
  // What was said in the last request, as "role: content".
  std::vector<std::string> Said() const {
    std::vector<std::string> said;
    const v1::ChatRequest request = server_.last_chat();
    for (const v1::ChatMessage& message : request.messages())
      said.push_back(message.role() + ": " + message.content());
    return said;
  }
  using Lines = std::vector<std::string>;
};

TEST_F(ChatCommand, OneMessageOneAnswer) {
  EXPECT_EQ(Run({"chat", "--system", "Be brief.", "one two"}), 0) << err_;
  EXPECT_EQ(out_, "one two\n");
  EXPECT_EQ(err_, "");
  EXPECT_EQ(Said(), (Lines{"system: Be brief.", "user: one two"}));
  EXPECT_EQ(Run({"chat", "-"}, "from there\n\n"), 0);
  EXPECT_EQ(Said(), (Lines{"user: from there\n"}));
}

TEST_F(ChatCommand, FlagsReachTheRequest) {
  ASSERT_EQ(Run({"chat", "--adapter", "a", "--temperature", "0", "--max-tokens", "5", "--stop", ";", "--n",
                 "2", "--seed", "3", "--template-arguments", "{\"enable_thinking\": false}", "--json", "x"}),
            0)
      << err_;
  const v1::ChatRequest request = server_.last_chat();
  EXPECT_EQ(request.adapter(), "a");
  EXPECT_EQ(request.sampling().temperature(), 0);
  EXPECT_EQ(request.sampling().n(), 2);
  EXPECT_EQ(request.sampling().seed(), 3u);
  EXPECT_EQ(request.stopping().max_tokens(), 5);
  EXPECT_EQ(request.stopping().stop(0), ";");
  EXPECT_EQ(request.template_arguments(), "{\"enable_thinking\": false}");
  EXPECT_TRUE(request.output().token_ids());
  EXPECT_FALSE(request.has_add_generation_prompt());
  EXPECT_EQ(Parsed()["choices"].size(), 2u);
  ASSERT_EQ(Run({"chat", "--json-stream", "x"}), 0);
  EXPECT_NE(out_.find("{\"event\":\"start\""), std::string::npos) << out_;
}

TEST_F(ChatCommand, AConversationKeepsWhatWasSaid) {
  EXPECT_EQ(Run({"chat"}, "one\n\ntwo three\n"), 0) << err_;
  EXPECT_EQ(out_, "one\ntwo three\n");
  EXPECT_EQ(Said(), (Lines{"user: one", "assistant: one", "user: two three"}));
  EXPECT_EQ(err_, "> > > > \n");
}

TEST_F(ChatCommand, CommandsChangeTheConversation) {
  ASSERT_EQ(Run({"adapter", "load", "pirate", "--path", "x"}), 0);
  EXPECT_EQ(Run({"chat"},
                "a\n/system Be brief.\n//b\n/adapter pirrate\n/adapter pirate\nc\n/clear\n/sistem\nd\n"
                "/route\n/system\n/adapter\ne\n/help\n/quit\nf\n"),
            0)
      << err_;
  EXPECT_EQ(Said(), (Lines{"user: d", "assistant: d", "user: e"})) << "nothing is read behind /quit";
  EXPECT_EQ(server_.last_chat().adapter(), "");
  for (const char* told : {"no adapter 'pirrate'; did you mean 'pirate'?", "adapter 'pirate'",
                           "the base model", "no command /sistem; did you mean '/system'?", "/clear"}) {
    EXPECT_NE(err_.find(told), std::string::npos) << told << " in " << err_;
  }
  EXPECT_NE(out_.find("adapter domains: mean weights over 7 tokens"), std::string::npos) << out_;

  EXPECT_EQ(Run({"chat"}, "a\n/system Be brief.\n//b\n/adapter pirate\nc\n"), 0);
  EXPECT_EQ(Said(),
            (Lines{"system: Be brief.", "user: a", "assistant: a", "user: /b", "assistant: /b", "user: c"}));
  EXPECT_EQ(server_.last_chat().adapter(), "pirate");
  EXPECT_EQ(Run({"chat", "--system", "x"}, "a\n/clear\nb\n/system y\nc\n/clear\nd\n"), 0);
  EXPECT_EQ(Said(), (Lines{"system: y", "user: d"})) << "what the model is told stays";
}

TEST_F(ChatCommand, WhatTheModelThinksIsNoPartOfTheAnswer) {
  EXPECT_EQ(Run({"chat", "--adapter", "thinker", "a"}), 0);
  EXPECT_EQ(out_, "a\n");
  EXPECT_EQ(err_, "Hm.\n\n");
  EXPECT_EQ(Run({"chat", "--adapter", "thinker", "--json", "a"}), 0);
  EXPECT_EQ(Parsed()["reasoning"], "Hm.");
  EXPECT_EQ(Run({"chat", "--adapter", "thinker"}, "a\nb\n"), 0);
  EXPECT_EQ(out_, "a\nb\n");
  EXPECT_EQ(Said(), (Lines{"user: a", "assistant: a", "user: b"}));
  EXPECT_EQ(server_.last_chat().messages(1).reasoning_content(), "Hm.");
}

TEST_F(ChatCommand, WhatFailedMayBeSaidAnew) {
  EXPECT_EQ(Run({"chat", "--adapter", "missing"}, "a\n/adapter\nb\n"), 0) << err_;
  EXPECT_NE(err_.find("no adapter 'missing'"), std::string::npos) << err_;
  EXPECT_EQ(Said(), (Lines{"user: b"}));
  EXPECT_EQ(Run({"chat", "--adapter", "missing"}, "a\n"), 1) << "as the last answer";
}

TEST_F(ChatCommand, CtrlCEndsTheAnswerAndNotTheProgram) {
  std::thread presses([this] {
    while (server_.generate_calls() == 0) std::this_thread::yield();
    raise(SIGINT);
    server_.AwaitCancel();
  });
  // "stuck" answers nothing, so that its message is taken back.
  EXPECT_EQ(Run({"chat", "--adapter", "stuck"}, "a\n/adapter\nb c\n"), 0) << err_;
  presses.join();
  EXPECT_EQ(Said(), (Lines{"user: b c"}));
  EXPECT_EQ(out_, "b c\n");
}

TEST_F(ChatCommand, WrongArguments) {
  EXPECT_EQ(Run({"chat", "--json"}), 2);
  EXPECT_NE(err_.find("add a MESSAGE"), std::string::npos) << err_;
  EXPECT_EQ(Run({"chat", "--n", "2"}), 2);
  EXPECT_EQ(Run({"chat", "--routing", "x"}), 2);
  EXPECT_EQ(Run({"chat", "--adapter", "missing", "x"}), 1);
}

}  // namespace
}  // namespace hydrad
