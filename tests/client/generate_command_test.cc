#include <cstdlib>

#include "tests/client/command_runner.h"

namespace hydrad {
namespace {

using GenerateCommand = CommandTest;

TEST_F(GenerateCommand, PrintsTheTextAndANewline) {
  EXPECT_EQ(Run({"generate", "one two three"}), 0);
  EXPECT_EQ(out_, "one two three\n");
  EXPECT_EQ(err_, "");
}

TEST_F(GenerateCommand, ReadsThePromptFromStdin) {
  EXPECT_EQ(Run({"generate", "-"}, "from there\n\n"), 0);
  EXPECT_EQ(server_.last_generate().text(), "from there\n");
}

TEST_F(GenerateCommand, ComposesAdapters) {
  ASSERT_EQ(Run({"generate", "--compose", "a=0.5", "--compose", "b", "--adapter-top-k", "2", "--json",
                 "--routing", "p"}),
            0)
      << err_;
  const v1::GenerateRequest request = server_.last_generate();
  ASSERT_EQ(request.adapters_size(), 2);
  EXPECT_EQ(request.adapters(0).name(), "a");
  EXPECT_EQ(request.adapters(0).weight(), 0.5f);
  EXPECT_EQ(request.adapters(1).name(), "b");
  EXPECT_FALSE(request.adapters(1).has_weight());
  EXPECT_EQ(request.adapter_top_k(), 2);
  EXPECT_TRUE(request.output().routing());
  EXPECT_EQ(Parsed()["routing"][0]["adapter"], "domains");
  EXPECT_EQ(Run({"generate", "--compose", "a=x", "p"}), 2);
  EXPECT_EQ(Run({"generate", "--compose", "a", "--adapter", "b", "p"}), 2);
}

TEST_F(GenerateCommand, EveryFlagReachesTheRequest) {
  ASSERT_EQ(Run({"generate",
                 "--adapter",
                 "a",
                 "--max-tokens",
                 "5",
                 "--min-tokens",
                 "2",
                 "--temperature",
                 "0.5",
                 "--top-p",
                 "0.9",
                 "--top-k",
                 "40",
                 "--min-p",
                 "0.05",
                 "--seed",
                 "18446744073709551615",
                 "--repetition-penalty",
                 "1.1",
                 "--presence-penalty",
                 "-1",
                 "--frequency-penalty",
                 "0.25",
                 "--stop",
                 "[END]",
                 "--stop",
                 ";",
                 "--n",
                 "2",
                 "--logprobs",
                 "3",
                 "--ignore-eos",
                 "--parse-special",
                 "--no-special",
                 "--echo",
                 "--json",
                 "the prompt"}),
            0)
      << err_;
  const v1::GenerateRequest request = server_.last_generate();
  EXPECT_EQ(request.text(), "the prompt");
  EXPECT_EQ(request.adapter(), "a");
  EXPECT_EQ(request.stopping().max_tokens(), 5);
  EXPECT_EQ(request.stopping().min_tokens(), 2);
  EXPECT_TRUE(request.stopping().ignore_eos());
  ASSERT_EQ(request.stopping().stop_size(), 2);
  EXPECT_EQ(request.stopping().stop(0), "[END]");
  EXPECT_FLOAT_EQ(request.sampling().temperature(), 0.5f);
  EXPECT_FLOAT_EQ(request.sampling().top_p(), 0.9f);
  EXPECT_EQ(request.sampling().top_k(), 40);
  EXPECT_FLOAT_EQ(request.sampling().min_p(), 0.05f);
  EXPECT_EQ(request.sampling().seed(), 18446744073709551615u);
  EXPECT_FLOAT_EQ(request.sampling().repetition_penalty(), 1.1f);
  EXPECT_FLOAT_EQ(request.sampling().presence_penalty(), -1);
  EXPECT_FLOAT_EQ(request.sampling().frequency_penalty(), 0.25f);
  EXPECT_EQ(request.sampling().n(), 2);
  EXPECT_EQ(request.output().logprobs(), 3);
  EXPECT_TRUE(request.output().token_ids());
  EXPECT_TRUE(request.output().echo());
  EXPECT_TRUE(request.parse_special());
  EXPECT_TRUE(request.no_special());
}

TEST_F(GenerateCommand, UnsetFlagsStayUnset) {
  ASSERT_EQ(Run({"generate", "a"}), 0);
  const v1::GenerateRequest request = server_.last_generate();
  EXPECT_FALSE(request.sampling().has_temperature());
  EXPECT_FALSE(request.sampling().has_seed());
  EXPECT_FALSE(request.output().has_logprobs());
}

TEST_F(GenerateCommand, AsksForAPageAtMost) {
  ASSERT_EQ(Run({"generate", "a"}), 0);
  EXPECT_EQ(server_.last_generate().stopping().max_tokens(), 256);
  ASSERT_EQ(Run({"generate", "--min-tokens", "300", "a"}), 0);
  EXPECT_EQ(server_.last_generate().stopping().max_tokens(), 300);
}

TEST_F(GenerateCommand, NamesTheNearestAdapterOfTheTenant) {
  ASSERT_EQ(Run({"adapter", "load", "massing", "--path", "x"}), 0);
  EXPECT_EQ(Run({"generate", "--adapter", "missing", "a"}), 1);
  EXPECT_NE(err_.find("no adapter 'missing'; did you mean 'massing'?"), std::string::npos) << err_;
  EXPECT_EQ(Run({"route", "--adapter", "missing", "a"}), 1);
  EXPECT_NE(err_.find("did you mean 'massing'?"), std::string::npos) << err_;
  EXPECT_EQ(Run({"adapter", "get", "masing"}), 1);
  EXPECT_NE(err_.find("no adapter 'masing'; did you mean 'massing'?"), std::string::npos) << err_;
}

TEST_F(GenerateCommand, AnAnswerThatEndsAtOnceMentionsChat) {
  const char kHint[] = "try `hydractl chat`";
  EXPECT_EQ(Run({"generate", "one"}), 0);
  EXPECT_NE(err_.find(kHint), std::string::npos) << err_;
  EXPECT_EQ(Run({"generate", "one two three"}), 0);
  EXPECT_EQ(err_, "") << "it went on";
  EXPECT_EQ(Run({"generate", "--max-tokens", "1", "one two three"}), 0);
  EXPECT_EQ(err_, "") << "it was ended";
  EXPECT_EQ(Run({"generate", "--json", "one"}), 0);
  EXPECT_EQ(err_, "") << "for a program";
  EXPECT_EQ(Run({"generate", "--choice", "a", "one"}), 0);
  EXPECT_EQ(err_, "") << "it has the form that was asked for";
  ASSERT_EQ(Run({"adapter", "load", "a", "--path", "x"}), 0);
  EXPECT_EQ(Run({"generate", "--adapter", "a", "one"}), 0);
  EXPECT_EQ(err_, "") << "it has no template";
}

TEST_F(GenerateCommand, JsonStreamIsALineAnEvent) {
  ASSERT_EQ(Run({"generate", "--json-stream", "--n", "2", "--adapter", "a", "one two"}), 0) << err_;
  std::vector<Json> events;
  std::istringstream lines(out_);
  for (std::string line; std::getline(lines, line);) events.push_back(ParseJson(line).value());
  ASSERT_EQ(events.size(), 6u) << out_;
  EXPECT_EQ(events[0]["event"], "start");
  EXPECT_EQ(events[0]["model"], "fake");
  EXPECT_EQ(events[0]["adapter"], "a");
  EXPECT_EQ(events[2]["event"], "chunk");
  EXPECT_EQ(events[2]["choice"], 1);
  EXPECT_EQ(events[2]["text"], "1:one");
  EXPECT_EQ(events[4]["finish_reason"], "stop");
  EXPECT_EQ(events[5]["event"], "end");
  EXPECT_EQ(events[5]["usage"]["generated_tokens"], 4);
  EXPECT_EQ(Run({"generate", "--json-stream", "--adapter", "missing", "a"}), 1);
  EXPECT_EQ(Parsed()["error"]["code"], "NOT_FOUND");
}

TEST_F(GenerateCommand, JsonOfOneChoice) {
  ASSERT_EQ(Run({"generate", "--adapter", "a", "--max-tokens", "2", "--json", "one two three"}), 0);
  const Json json = Parsed();
  EXPECT_EQ(json["text"], "one two");
  EXPECT_EQ(json["token_ids"], Json({3, 3}));
  EXPECT_EQ(json["finish_reason"], "length");
  EXPECT_EQ(json["usage"]["prompt_tokens"], 3);
  EXPECT_EQ(json["usage"]["generated_tokens"], 2);
  EXPECT_EQ(json["usage"]["decode_seconds"], 0.25);
  EXPECT_EQ(json["adapter"], "a");
  EXPECT_EQ(json["generation"], 7);
  EXPECT_EQ(json["model"], "fake");
  ASSERT_EQ(json["choices"].size(), 1);
  EXPECT_EQ(json["choices"][0]["text"], "one two");
  EXPECT_FALSE(json.contains("logprobs"));
}

TEST_F(GenerateCommand, JsonOfSeveralChoicesWithLogprobs) {
  ASSERT_EQ(Run({"generate", "--n", "2", "--logprobs", "0", "--json", "one"}), 0);
  const Json json = Parsed();
  ASSERT_EQ(json["choices"].size(), 2);
  EXPECT_EQ(json["choices"][1]["text"], "1:one");
  EXPECT_EQ(json["choices"][1]["logprobs"][0]["logprob"], -0.5);
  EXPECT_EQ(json["choices"][1]["logprobs"][0]["text"], "one\uFFFD");
  EXPECT_EQ(json["text"], "0:one");
}

TEST_F(GenerateCommand, SeveralChoicesAsText) {
  ASSERT_EQ(Run({"generate", "--n", "2", "one two"}), 0);
  EXPECT_EQ(out_, "[0] 0:one two\n[1] 1:one two\n");
}

TEST_F(GenerateCommand, LogprobsNeedJson) { EXPECT_EQ(Run({"generate", "--logprobs", "2", "one"}), 2); }

TEST_F(GenerateCommand, PromptThatLooksLikeAFlag) {
  EXPECT_EQ(RunAsGiven({"--server", server_.address(), "generate", "--", "--stop it"}), 0) << err_;
  EXPECT_EQ(server_.last_generate().text(), "--stop it");
}

TEST_F(GenerateCommand, KeyComesFromFlagOrEnvironmentAndIsNeverShown) {
  ASSERT_EQ(Run({"generate", "--tenant-key", "secret1", "a"}), 0);
  EXPECT_EQ(server_.last_authorization(), "Bearer secret1");
  setenv("HYDRAD_TENANT_KEY", "secret2", 1);
  EXPECT_EQ(Run({"generate", "a"}), 0);
  EXPECT_EQ(server_.last_authorization(), "Bearer secret2");
  EXPECT_EQ(Run({"generate", "--help"}), 0);
  EXPECT_EQ(out_.find("secret"), std::string::npos);
  EXPECT_EQ(Run({"generate"}), 2);
  EXPECT_EQ(err_.find("secret"), std::string::npos);
  unsetenv("HYDRAD_TENANT_KEY");
}

TEST_F(GenerateCommand, ErrorSaysCodeReasonFieldAndRetry) {
  server_.FailWith(RichStatus(8, "queue is full", "QUEUE_FULL", "adapter", 3));
  EXPECT_EQ(Run({"generate", "--json", "a"}), 1);
  EXPECT_EQ(Parsed().dump(),
            R"({"error":{"code":"RESOURCE_EXHAUSTED","message":"queue is full","reason":"QUEUE_FULL",)"
            R"("fields":[{"field":"adapter","description":"is not right"}],"retry_after_seconds":3.0}})");
  EXPECT_EQ(err_, "");
  EXPECT_EQ(Run({"generate", "a"}), 1);
  EXPECT_EQ(out_, "");
  EXPECT_EQ(err_,
            "hydractl: RESOURCE_EXHAUSTED: queue is full\n  reason: QUEUE_FULL (domain hydrad)\n"
            "  field: adapter: is not right\n  retry after: 3 s\n");
}

TEST_F(GenerateCommand, TimeoutEndsAStuckStream) {
  // It may pass before the server has heard of the call.
  for (double seconds = 0.05; server_.generate_calls() == 0; seconds *= 2) {
    EXPECT_EQ(Run({"generate", "--adapter", "stuck", "--timeout", std::to_string(seconds), "a"}), 1);
    EXPECT_NE(err_.find("DEADLINE_EXCEEDED"), std::string::npos) << err_;
  }
  server_.AwaitCancel();
}

TEST_F(GenerateCommand, AnExpertOrWhoChoosesOne) {
  ASSERT_EQ(Run({"generate", "--adapter", "mix", "--expert", "sums", "a"}), 0) << err_;
  EXPECT_EQ(server_.last_generate().expert(), "sums");
  EXPECT_EQ(server_.last_generate().decision(), v1::DECISION_UNSPECIFIED);
  ASSERT_EQ(Run({"generate", "--adapter", "mix", "--decision", "layer", "a"}), 0) << err_;
  EXPECT_EQ(server_.last_generate().decision(), v1::DECISION_LAYER);
  EXPECT_EQ(Run({"generate", "--decision", "coin", "a"}), 2);
}

}  // namespace
}  // namespace hydrad
