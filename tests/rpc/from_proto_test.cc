#include "server/rpc/from_proto.h"

#include <gmock/gmock.h>
#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include "server/front/validate.h"
#include "server/rpc/to_proto.h"

namespace hydrad {
namespace {

using testing::ElementsAre;

template <class Message>
Message Parse(const std::string& text) {
  Message message;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &message)) << text;
  return message;
}

TEST(FromProtoTest, WhatIsUnsetStaysSo) {
  const GenerateCall call = FromProto(v1::GenerateRequest());
  EXPECT_TRUE(std::holds_alternative<std::monostate>(call.prompt));
  EXPECT_FALSE(call.adapter_top_k || call.decision);
  const SamplingFields& s = call.sampling;
  EXPECT_FALSE(s.temperature || s.top_p || s.top_k || s.min_p || s.repetition_penalty || s.presence_penalty ||
               s.frequency_penalty || s.seed || s.n);
  EXPECT_TRUE(s.logit_bias.empty());
  EXPECT_FALSE(call.output.logprobs || call.output.prompt_logprobs || call.output.keep_special_tokens);
  EXPECT_FALSE(call.stopping.max_tokens || call.stopping.min_tokens || call.stopping.ignore_eos);
}

TEST(FromProtoTest, AConversationArrivesWhereItBelongs) {
  const GenerateCall call = FromProto(Parse<v1::ChatRequest>(R"pb(
    messages { role: "user" content: "" name: "ann" }
    messages {
      role: "assistant"
      reasoning_content: "hm"
      tool_calls { id: "c" name: "f" arguments: "{}" }
    }
    messages { role: "tool" content: "1" tool_call_id: "c" }
    tools: "{}"
    template_arguments: "[]"
    add_generation_prompt: false
    continue_final_message: true
    adapter: "a"
    expert: "e"
    decision: DECISION_VOTE
    adapter_top_k: 2
    sampling { n: 3 }
    stopping { max_tokens: 4 }
    output { echo: true }
  )pb"));
  const auto& chat = std::get<ChatPrompt>(call.prompt);
  ASSERT_EQ(chat.messages.size(), 3u);
  EXPECT_EQ(chat.messages[0].role, "user");
  EXPECT_EQ(std::get<std::string>(chat.messages[0].content), "");
  EXPECT_EQ(chat.messages[0].name, "ann");
  EXPECT_TRUE(std::holds_alternative<std::monostate>(chat.messages[1].content));
  EXPECT_EQ(chat.messages[1].reasoning_content, "hm");
  ASSERT_EQ(chat.messages[1].tool_calls.size(), 1u);
  EXPECT_EQ(chat.messages[1].tool_calls[0].id, "c");
  EXPECT_EQ(chat.messages[1].tool_calls[0].name, "f");
  EXPECT_EQ(chat.messages[1].tool_calls[0].arguments, "{}");
  EXPECT_EQ(chat.messages[2].tool_call_id, "c");
  EXPECT_THAT(chat.tools, ElementsAre("{}"));
  EXPECT_EQ(chat.template_arguments, "[]");
  EXPECT_EQ(chat.add_generation_prompt, false);
  EXPECT_TRUE(chat.continue_final_message);
  EXPECT_TRUE(chat.take_apart);
  EXPECT_EQ(call.adapter, "a");
  EXPECT_EQ(call.expert, "e");
  EXPECT_EQ(call.decision, Decision::kVote);
  EXPECT_EQ(call.adapter_top_k, 2);
  EXPECT_EQ(call.sampling.n, 3);
  EXPECT_EQ(call.stopping.max_tokens, 4);
  EXPECT_TRUE(call.output.echo);
  EXPECT_FALSE(std::get<ChatPrompt>(FromProto(v1::ChatRequest()).prompt).add_generation_prompt);
}

TEST(FromProtoTest, WhatIsSetToItsDefaultIsSet) {
  const GenerateCall call = FromProto(Parse<v1::GenerateRequest>(
      "text: '' adapter_top_k: 0 adapters { weight: 0 } sampling { temperature: 0 top_p: 0 top_k: 0 min_p: 0 "
      "repetition_penalty: 0 presence_penalty: 0 frequency_penalty: 0 seed: 0 n: 0 } "
      "stopping { max_tokens: 0 min_tokens: 0 } output { logprobs: 0 prompt_logprobs: 0 }"));
  EXPECT_EQ(std::get<std::string>(call.prompt), "");
  EXPECT_EQ(call.adapter_top_k, 0);
  EXPECT_EQ(call.adapters[0].weight, 0.f);
  const SamplingFields& s = call.sampling;
  EXPECT_TRUE(s.temperature && s.top_p && s.top_k && s.min_p && s.repetition_penalty && s.presence_penalty &&
              s.frequency_penalty && s.seed && s.n);
  EXPECT_TRUE(call.stopping.max_tokens && call.stopping.min_tokens);
  EXPECT_TRUE(call.output.logprobs && call.output.prompt_logprobs);
}

TEST(FromProtoTest, SetFieldsArriveWhereTheyBelong) {
  const GenerateCall call = FromProto(Parse<v1::GenerateRequest>(
      "token_ids { ids: [3, 4] } parse_special: true no_special: true adapter: 'one' "
      "adapters { name: 'a' weight: 2 } adapters { name: 'b' } adapter_top_k: 6 expert: 'sums' "
      "sampling { temperature: 0.75 top_p: 0.5 top_k: 7 min_p: 0.25 repetition_penalty: 1.5 "
      "presence_penalty: -1 frequency_penalty: 2 logit_bias { key: 3 value: -4 } seed: 11 n: 5 } "
      "stopping { max_tokens: 8 min_tokens: 2 stop: 'a' stop: 'b' stop_token_ids: 9 ignore_eos: true } "
      "output { token_ids: true logprobs: 1 prompt_logprobs: 5 echo: true keep_special_tokens: true "
      "routing: true }"));
  EXPECT_THAT(std::get<std::vector<int32_t>>(call.prompt), ElementsAre(3, 4));
  EXPECT_TRUE(call.parse_special && call.no_special);
  EXPECT_EQ(call.adapter, "one");
  ASSERT_EQ(call.adapters.size(), 2u);
  EXPECT_EQ(call.adapters[0].name, "a");
  EXPECT_EQ(call.adapters[0].weight, 2.f);
  EXPECT_EQ(call.adapters[1].name, "b");
  EXPECT_FALSE(call.adapters[1].weight);
  EXPECT_EQ(call.adapter_top_k, 6);
  EXPECT_EQ(call.expert, "sums");
  const SamplingFields& s = call.sampling;
  EXPECT_EQ(s.temperature, 0.75f);
  EXPECT_EQ(s.top_p, 0.5f);
  EXPECT_EQ(s.top_k, 7);
  EXPECT_EQ(s.min_p, 0.25f);
  EXPECT_EQ(s.repetition_penalty, 1.5f);
  EXPECT_EQ(s.presence_penalty, -1.f);
  EXPECT_EQ(s.frequency_penalty, 2.f);
  ASSERT_EQ(s.logit_bias.size(), 1u);
  EXPECT_EQ(s.logit_bias[0].token, 3);
  EXPECT_EQ(s.logit_bias[0].bias, -4);
  EXPECT_EQ(s.seed, 11u);
  EXPECT_EQ(s.n, 5);
  const StoppingFields& t = call.stopping;
  EXPECT_EQ(t.max_tokens, 8);
  EXPECT_EQ(t.min_tokens, 2);
  EXPECT_THAT(t.stop, ElementsAre("a", "b"));
  EXPECT_THAT(t.stop_token_ids, ElementsAre(9));
  EXPECT_TRUE(t.ignore_eos);
  const OutputFields& o = call.output;
  EXPECT_EQ(o.logprobs, 1);
  EXPECT_EQ(o.prompt_logprobs, 5);
  EXPECT_TRUE(o.token_ids && o.echo && o.keep_special_tokens && o.routing);
}

TEST(FromProtoTest, EveryDecision) {
  for (const Decision decision : {Decision::kLabel, Decision::kLast, Decision::kVote, Decision::kLayer}) {
    const v1::ExpertRoute route = ToProto(RouteTaken{.decision = decision, .expert = "", .votes = {}});
    EXPECT_NE(route.decision(), v1::DECISION_UNSPECIFIED);
    v1::GenerateRequest message;
    message.set_decision(route.decision());
    EXPECT_EQ(FromProto(message).decision, decision);
  }
}

TEST(FromProtoTest, ADecisionOfALaterVersionIsOneThatNobodyKnows) {
  v1::GenerateRequest message;
  message.set_text("x");
  message.set_adapter("mix");
  message.set_decision(static_cast<v1::Decision>(77));
  const absl::Status status = Validate(FromProto(message), {.vocab_size = 10, .max_context = 10});
  EXPECT_EQ(std::string(status.message()), "decision is not one of those that are known");
}

TEST(FromProtoTest, ChangesOfAdapters) {
  const LoadCall load = FromProto(Parse<v1::LoadAdapterRequest>(
      "name: 'a' path: 'b' etag: 'c' request_id: 'd' lenient: true validate_only: true"));
  EXPECT_EQ(load.name + load.path + load.etag + load.request_id, "abcd");
  EXPECT_TRUE(load.lenient && load.validate_only);
  const UnloadCall unload =
      FromProto(Parse<v1::UnloadAdapterRequest>("name: 'a' etag: 'b' request_id: 'c' force: true"));
  EXPECT_EQ(unload.name + unload.etag + unload.request_id, "abc");
  EXPECT_TRUE(unload.force);
  EXPECT_TRUE(FromProto(Parse<v1::PinAdapterRequest>("name: 'a'")).pinned);
  EXPECT_FALSE(FromProto(Parse<v1::UnpinAdapterRequest>("name: 'a'")).pinned);
  const ApplyCall apply = FromProto(Parse<v1::ApplyAdaptersRequest>(
      "adapters { name: 'a' path: 'b' etag: 'c' pinned: true lenient: true } request_id: 'd' "
      "validate_only: true force: true"));
  ASSERT_EQ(apply.adapters.size(), 1u);
  const WantedAdapter& wanted = apply.adapters[0];
  EXPECT_EQ(wanted.name + wanted.path + wanted.digest + apply.request_id, "abcd");
  EXPECT_TRUE(wanted.pinned && wanted.lenient && apply.validate_only && apply.force);
}

}  // namespace
}  // namespace hydrad
