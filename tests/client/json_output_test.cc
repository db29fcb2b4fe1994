#include "client/hydractl/json_output.h"

#include <gtest/gtest.h>

namespace hydrad {
namespace {

TEST(Json, BytesThatAreNotUtf8BecomeReplacementCharacters) {
  EXPECT_EQ(Line(Json("a\xff"
                      "b")),
            "\"a\xEF\xBF\xBD"
            "b\"");
}

TEST(Json, EmptyResultHasEveryKey) {
  const Json json = ToJson(v1::GenerateResult());
  for (const char* key : {"text", "token_ids", "finish_reason", "usage", "model", "adapter", "generation",
                          "request_id", "choices"}) {
    EXPECT_TRUE(json.contains(key)) << key;
  }
  EXPECT_EQ(json["finish_reason"], "");
  EXPECT_EQ(json["token_ids"], Json::array());
}

TEST(Json, StopAndTopLogprobs) {
  v1::GenerateResult result;
  v1::Chunk& choice = *result.add_choices();
  choice.set_stop(";");
  choice.set_finish_reason(v1::FINISH_REASON_STOP);
  v1::Logprob& logprob = *choice.add_logprobs();
  logprob.mutable_token()->set_token(5);
  logprob.mutable_token()->set_bytes(" the");
  logprob.add_top()->set_token(6);
  const Json json = ToJson(result);
  EXPECT_EQ(json["stop"], ";");
  EXPECT_EQ(json["finish_reason"], "stop");
  EXPECT_EQ(json["logprobs"][0]["token"], 5);
  EXPECT_EQ(json["logprobs"][0]["text"], " the");
  EXPECT_EQ(json["logprobs"][0]["top"][0]["token"], 6);
}

TEST(Json, ReasoningAndCalls) {
  v1::GenerateResult result;
  v1::Chunk& choice = *result.add_choices();
  EXPECT_FALSE(ToJson(result).contains("reasoning"));
  EXPECT_FALSE(ToJson(result).contains("tool_calls"));
  choice.set_reasoning("Hm.");
  choice.set_finish_reason(v1::FINISH_REASON_TOOL_CALLS);
  v1::CalledTool& call = *choice.add_tool_calls();
  call.set_id("123456789");
  call.set_name("f");
  call.set_arguments("{}");
  const Json json = ToJson(result);
  EXPECT_EQ(json["reasoning"], "Hm.");
  EXPECT_EQ(json["finish_reason"], "tool_calls");
  EXPECT_EQ(json["tool_calls"].dump(), R"([{"index":0,"id":"123456789","name":"f","arguments":"{}"}])");
}

TEST(Json, BigNumbersStayExact) {
  v1::Adapter adapter;
  adapter.set_device_bytes(18446744073709551615u);
  EXPECT_NE(Line(ToJson(adapter)).find("\"device_bytes\":18446744073709551615"), std::string::npos);
}

TEST(Json, TheRouteTaken) {
  v1::GenerateResult result;
  EXPECT_FALSE(ToJson(result).contains("route"));
  v1::ExpertRoute& route = *result.mutable_start()->mutable_route();
  route.set_decision(v1::DECISION_LAYER);
  route.add_votes("poems");
  route.add_votes("sums");
  EXPECT_EQ(ToJson(result)["route"].dump(), R"({"decision":"layer","votes":["poems","sums"]})");
  route.set_decision(v1::DECISION_VOTE);
  route.set_expert("poems");
  EXPECT_EQ(ToJson(result)["route"]["expert"], "poems");
}

TEST(Json, AnAdapterHasItsWarnings) {
  v1::Adapter adapter;
  EXPECT_EQ(ToJson(adapter)["warnings"].dump(), "[]");
  adapter.set_lenient(true);
  adapter.add_warnings("something");
  EXPECT_EQ(ToJson(adapter)["warnings"].dump(), R"(["something"])");
  EXPECT_EQ(ToJson(adapter)["lenient"], true);
}

TEST(Json, AnMoaNamesItsExperts) {
  v1::Adapter adapter;
  EXPECT_FALSE(ToJson(adapter).contains("expert_names"));
  adapter.add_expert_names("poems");
  EXPECT_EQ(ToJson(adapter)["expert_names"].dump(), R"(["poems"])");
  EXPECT_FALSE(ToJson(adapter).contains("moa_experts"));
  v1::Adapter::Expert* expert = adapter.add_moa_experts();
  expert->set_name("poems");
  expert->set_generation(3);
  EXPECT_EQ(ToJson(adapter)["moa_experts"].dump(),
            R"([{"name":"poems","etag":"","generation":3,"device_bytes":0}])");
}

}  // namespace
}  // namespace hydrad
