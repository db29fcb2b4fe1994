#include "server/http/completion_call.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "server/http/error_answer.h"

namespace hydrad {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

CompletionCall Read(const std::string& body) {
  absl::StatusOr<CompletionCall> call = ReadCompletionCall(body, "base");
  EXPECT_TRUE(call.ok()) << call.status() << body;
  return call.ok() ? *std::move(call) : CompletionCall{.calls = {{}}, .wishes = {}};
}

// The error's field.
std::string Refused(const std::string& body) {
  const absl::Status status = ReadCompletionCall(body, "base").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << body;
  if (status.ok()) return "";
  const Json param = Json::parse(ErrorAnswer(status).body)["error"]["param"];
  return param.is_null() ? "" : param.get<std::string>();
}

TEST(CompletionCallTest, EveryField) {
  const CompletionCall call = Read(R"({
      "model": "sql", "prompt": "x", "max_tokens": 7, "min_tokens": 2, "temperature": 0.5, "top_p": 0.9, "top_k": 40,
      "min_p": 0.1, "repetition_penalty": 1.1, "presence_penalty": 0.2, "frequency_penalty": 0.3,
      "logit_bias": {"5": -100, "6": 1.5}, "seed": -1, "n": 2, "stop": ["a", "b"], "stop_token_ids": [9],
      "ignore_eos": true, "logprobs": 3, "echo": true, "stream": true, "stream_options": {"include_usage": true},
      "user": "u", "metadata": {}, "store": false,
      "hydrad": {"adapter_top_k": 2, "expert": "law", "decision": "label", "routing": true}})");
  ASSERT_EQ(call.calls.size(), 1u);
  const GenerateCall& one = call.calls[0];
  EXPECT_EQ(std::get<std::string>(one.prompt), "x");
  EXPECT_EQ(one.adapter, "sql");
  EXPECT_EQ(one.adapter_top_k, 2);
  EXPECT_EQ(one.expert, "law");
  EXPECT_EQ(one.decision, Decision::kLabel);
  EXPECT_EQ(one.sampling.temperature, 0.5f);
  EXPECT_EQ(one.sampling.top_p, 0.9f);
  EXPECT_EQ(one.sampling.top_k, 40);
  EXPECT_EQ(one.sampling.min_p, 0.1f);
  EXPECT_EQ(one.sampling.repetition_penalty, 1.1f);
  EXPECT_EQ(one.sampling.presence_penalty, 0.2f);
  EXPECT_EQ(one.sampling.frequency_penalty, 0.3f);
  ASSERT_EQ(one.sampling.logit_bias.size(), 2u);
  EXPECT_EQ(one.sampling.logit_bias[1].token, 6);
  EXPECT_EQ(one.sampling.seed, ~uint64_t{0});
  EXPECT_EQ(one.sampling.n, 2);
  EXPECT_EQ(one.stopping.max_tokens, 7);
  EXPECT_EQ(one.stopping.min_tokens, 2);
  EXPECT_THAT(one.stopping.stop, ElementsAre("a", "b"));
  EXPECT_THAT(one.stopping.stop_token_ids, ElementsAre(9));
  EXPECT_TRUE(one.stopping.ignore_eos);
  EXPECT_EQ(one.output.logprobs, 3);
  EXPECT_EQ(one.output.prompt_logprobs, 3);
  EXPECT_TRUE(one.output.echo);
  EXPECT_TRUE(one.output.routing);
  EXPECT_TRUE(call.wishes.stream && call.wishes.include_usage && call.wishes.hydrad);
  EXPECT_EQ(call.wishes.model, "sql");
}

TEST(CompletionCallTest, WhatIsLeftOutIsLeftToTheDefaults) {
  const CompletionCall call = Read(R"({"prompt": "x", "stop": null, "stream": null})");
  EXPECT_EQ(call.calls[0].adapter, "") << "the base model";
  EXPECT_EQ(call.wishes.model, "base");
  EXPECT_EQ(call.calls[0].stopping.max_tokens, 16) << "as OpenAI's";
  EXPECT_EQ(call.calls[0].sampling.temperature, std::nullopt);
  EXPECT_EQ(call.calls[0].output.logprobs, std::nullopt);
  EXPECT_EQ(call.calls[0].output.prompt_logprobs, std::nullopt);
  EXPECT_FALSE(call.wishes.stream || call.wishes.hydrad);
  EXPECT_EQ(Read(R"({"prompt": "x", "logprobs": 1})").calls[0].output.prompt_logprobs, std::nullopt);
  EXPECT_EQ(Read(R"({"model": "base", "prompt": "x"})").calls[0].adapter, "");
  EXPECT_EQ(Read(R"({"prompt": "x", "top_k": -1})").calls[0].sampling.top_k, 0);
}

TEST(CompletionCallTest, EveryFormOfPrompts) {
  using Ids = std::vector<int32_t>;
  EXPECT_EQ(std::get<Ids>(Read(R"({"prompt": [1, 2]})").calls.at(0).prompt), (Ids{1, 2}));
  const CompletionCall texts = Read(R"({"prompt": ["a", "b"], "n": 2})");
  ASSERT_EQ(texts.calls.size(), 2u);
  EXPECT_EQ(std::get<std::string>(texts.calls[1].prompt), "b");
  EXPECT_EQ(texts.calls[1].sampling.n, 2);
  const CompletionCall ids = Read(R"({"prompt": [[1], [2, 3]]})");
  ASSERT_EQ(ids.calls.size(), 2u);
  EXPECT_EQ(std::get<Ids>(ids.calls[1].prompt), (Ids{2, 3}));
  std::string many = "\"a\"";
  for (size_t i = 1; i <= kMaxPrompts; ++i) many += ",\"a\"";
  for (const std::string& bad : {std::string("[]"), std::string("1"), std::string("{}"),
                                 std::string("[true]"), std::string("[1, \"a\"]"), std::string("[1.5]"),
                                 std::string("[[1], [\"a\"]]"), std::string("[null]"), "[" + many + "]"}) {
    EXPECT_EQ(Refused("{\"prompt\": " + bad + "}"), "prompt") << bad;
  }
  EXPECT_EQ(Refused("{}"), "prompt");
}

TEST(CompletionCallTest, AComposition) {
  const GenerateCall call =
      Read(R"({"prompt": "x", "hydrad": {"adapters": ["a", {"name": "b", "weight": -0.5}, {"name": "c"}]}})")
          .calls[0];
  ASSERT_EQ(call.adapters.size(), 3u);
  EXPECT_EQ(call.adapters[0].name, "a");
  EXPECT_EQ(call.adapters[0].weight, std::nullopt);
  EXPECT_EQ(call.adapters[1].weight, -0.5f);
  for (const char* bad : {R"(1)", R"([1])", R"([{"name": "a", "wieght": 1}])", R"([{"name": 1}])"}) {
    EXPECT_EQ(Refused(R"({"prompt": "x", "hydrad": {"adapters": )" + std::string(bad) + "}}"),
              "hydrad.adapters");
  }
}

TEST(CompletionCallTest, WhatWouldBeIgnoredIsRefusedByName) {
  const auto with = [](const std::string& field) { return Refused(R"({"prompt": "x", )" + field + "}"); };
  EXPECT_EQ(with(R"("best_of": 3)"), "best_of");
  EXPECT_EQ(with(R"("suffix": "y")"), "suffix");
  EXPECT_EQ(with(R"("max_token": 5)"), "max_token");
  EXPECT_EQ(with(R"("stream": 1)"), "stream");
  EXPECT_EQ(with(R"("stream_options": {"include_usage": true})"), "stream_options") << "no stream";
  EXPECT_EQ(with(R"("stream": true, "stream_options": {"x": true})"), "stream_options.x");
  EXPECT_EQ(with(R"("hydrad": {"top": 1})"), "hydrad.top");
  EXPECT_EQ(with(R"("hydrad": {"decision": "best"})"), "hydrad.decision");
  EXPECT_EQ(with(R"("logit_bias": {"a": 1})"), "logit_bias");
  EXPECT_EQ(with(R"("logit_bias": {"5": "1"})"), "logit_bias");
  EXPECT_EQ(with(R"("model": "")"), "model");
  Read(R"({"prompt": "x", "best_of": 2, "n": 2, "suffix": ""})");
}

TEST(CompletionCallTest, BodiesThatAreNoObjects) {
  std::string deep(1000, '[');
  for (const std::string& body :
       {std::string(), std::string("[]"), std::string("{"), std::string("{\"prompt\": \"\xff\"}"),
        "{\"prompt\": " + deep, std::string("{\"a\": 1, \"a\": 2}"),
        std::string("{\"temperature\": 1e999}")}) {
    const absl::Status status = ReadCompletionCall(body, "base").status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << body;
    EXPECT_THAT(ErrorAnswer(status).body, HasSubstr("malformed_message"));
  }
}

}  // namespace
}  // namespace hydrad
