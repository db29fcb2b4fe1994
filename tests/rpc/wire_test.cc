#include "server/rpc/wire.h"

#include <gmock/gmock.h>
#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

namespace hydrad {
namespace {

using testing::ElementsAre;

template <class Message>
Message Parse(const std::string& text) {
  Message message;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &message)) << text;
  return message;
}

TEST(WireTest, UnsetFieldsTakeTheDefaults) {
  const SamplingParams defaults;
  const SamplingParams sampling = FromProto(v1::Sampling());
  EXPECT_EQ(sampling.temperature, defaults.temperature);
  EXPECT_EQ(sampling.top_p, defaults.top_p);
  EXPECT_EQ(sampling.top_k, defaults.top_k);
  EXPECT_EQ(sampling.min_p, defaults.min_p);
  EXPECT_EQ(sampling.repetition_penalty, defaults.repetition_penalty);
  EXPECT_TRUE(sampling.logit_bias.empty());
  const OutputOptions output = FromProto(v1::Output());
  EXPECT_EQ(output.top_logprobs, -1);
  EXPECT_EQ(output.prompt_logprobs, -1);
  EXPECT_TRUE(output.skip_special_tokens);
  const Stopping stopping = FromProto(v1::Stopping());
  EXPECT_EQ(stopping.min_tokens, 0);
  EXPECT_FALSE(stopping.ignore_eos);
}

TEST(WireTest, SetFieldsArriveWhereTheyBelong) {
  const SamplingParams s = FromProto(Parse<v1::Sampling>(
      "temperature: 0 top_p: 0.5 top_k: 7 min_p: 0.25 repetition_penalty: 1.5 presence_penalty: -1 "
      "frequency_penalty: 2 logit_bias { key: 3 value: -4 }"));
  EXPECT_EQ(s.temperature, 0);
  EXPECT_EQ(s.top_p, 0.5f);
  EXPECT_EQ(s.top_k, 7);
  EXPECT_EQ(s.min_p, 0.25f);
  EXPECT_EQ(s.repetition_penalty, 1.5f);
  EXPECT_EQ(s.presence_penalty, -1);
  EXPECT_EQ(s.frequency_penalty, 2);
  ASSERT_EQ(s.logit_bias.size(), 1u);
  EXPECT_EQ(s.logit_bias[0].token, 3);
  EXPECT_EQ(s.logit_bias[0].bias, -4);
  const OutputOptions o =
      FromProto(Parse<v1::Output>("logprobs: 0 prompt_logprobs: 5 keep_special_tokens: true"));
  EXPECT_EQ(o.top_logprobs, 0);
  EXPECT_EQ(o.prompt_logprobs, 5);
  EXPECT_FALSE(o.skip_special_tokens);
  const Stopping t =
      FromProto(Parse<v1::Stopping>("min_tokens: 2 stop: 'a' stop: 'b' stop_token_ids: 9 ignore_eos: true"));
  EXPECT_EQ(t.min_tokens, 2);
  EXPECT_THAT(t.stop, ElementsAre("a", "b"));
  EXPECT_THAT(t.stop_ids, ElementsAre(9));
  EXPECT_TRUE(t.ignore_eos);
}

TEST(WireTest, FinishReasons) {
  for (const auto& [reason, expected] : {std::pair{FinishReason::kStop, v1::FINISH_REASON_STOP},
                                         std::pair{FinishReason::kStopString, v1::FINISH_REASON_STOP},
                                         std::pair{FinishReason::kStopToken, v1::FINISH_REASON_STOP},
                                         std::pair{FinishReason::kLength, v1::FINISH_REASON_LENGTH}}) {
    OutputPiece piece;
    piece.finished = true;
    piece.reason = reason;
    EXPECT_EQ(ToProto(piece, false, nullptr).finish_reason(), expected);
  }
}

TEST(WireTest, TokenIdsAreSentOnRequest) {
  OutputPiece piece;
  piece.tokens = {1, 2};
  EXPECT_EQ(ToProto(piece, false, nullptr).token_ids_size(), 0);
  EXPECT_EQ(ToProto(piece, true, nullptr).token_ids_size(), 2);
}

TEST(WireTest, Routing) {
  AdapterRouting routing{"a", 9, {{3, Projection::kUp, {0.25f, 0.75f}}}, {{1, 0}, {1}}};
  const v1::Routing out = ToProto(routing);
  EXPECT_EQ(out.adapter(), "a");
  EXPECT_EQ(out.tokens(), 9);
  ASSERT_EQ(out.routers_size(), 1);
  EXPECT_EQ(out.routers(0).layer(), 3);
  EXPECT_EQ(out.routers(0).projection(), "up_proj");
  EXPECT_EQ(out.routers(0).mean(1), 0.75f);
  ASSERT_EQ(out.choices_size(), 2);
  EXPECT_EQ(out.choices(0).top(0), 1);
  EXPECT_EQ(out.choices(1).top_size(), 1);
}

TEST(WireTest, AnAdapter) {
  AdapterInfo info;
  info.name = "sql";
  info.state = AdapterState::kFailed;
  info.generation = 4;
  info.path = "sql/v1";
  info.family = "hydralora";
  info.digest = "sha256:00";
  info.device_bytes = 99;
  info.max_rank = 8;
  info.experts = 3;
  info.targets = {"q_proj", "v_proj"};
  info.handles = 2;
  info.error = InvalidArgument("rank is 0");
  info.tier = Tier::kHost;
  info.pinned = true;
  info.host_bytes = 77;
  info.lenient = true;
  info.warnings = {"something"};
  const v1::Adapter expected = Parse<v1::Adapter>(
      "name: 'sql' state: FAILED generation: 4 path: 'sql/v1' family: 'hydralora' etag: 'sha256:00' "
      "device_bytes: 99 max_rank: 8 experts: 3 targets: 'q_proj' targets: 'v_proj' requests: 2 error: 'rank "
      "is 0' tier: HOST pinned: true host_bytes: 77 lenient: true warnings: \"something\"");
  EXPECT_EQ(ToProto(info).SerializeAsString(), expected.SerializeAsString());
}

TEST(WireTest, EveryAdapterState) {
  for (const auto& [state, expected] : {std::pair{AdapterState::kLoading, v1::Adapter::LOADING},
                                        std::pair{AdapterState::kAvailable, v1::Adapter::AVAILABLE},
                                        std::pair{AdapterState::kUnloading, v1::Adapter::UNLOADING},
                                        std::pair{AdapterState::kFailed, v1::Adapter::FAILED},
                                        std::pair{AdapterState::kUnloaded, v1::Adapter::UNLOADED}}) {
    AdapterInfo info;
    info.state = state;
    EXPECT_EQ(ToProto(info).state(), expected);
  }
}

TEST(WireTest, ATimestamp) {
  const auto time = std::chrono::system_clock::time_point(std::chrono::milliseconds(1'700'000'000'250));
  EXPECT_EQ(ToProto(time).seconds(), 1'700'000'000);
  EXPECT_EQ(ToProto(time).nanos(), 250'000'000);
}

TEST(WireTest, EveryDecision) {
  for (const Decision decision : {Decision::kLabel, Decision::kLast, Decision::kVote, Decision::kLayer}) {
    const v1::ExpertRoute route = ToProto(RouteTaken{.decision = decision, .expert = "", .votes = {}});
    EXPECT_NE(route.decision(), v1::DECISION_UNSPECIFIED);
    EXPECT_EQ(FromProto(route.decision()), decision);
  }
}

}  // namespace
}  // namespace hydrad
