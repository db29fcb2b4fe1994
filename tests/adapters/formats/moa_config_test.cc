#include "server/adapters/formats/moa_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "server/adapters/formats/adapter_config.h"

namespace hydrad {
namespace {

using ::testing::HasSubstr;

Json Config() {
  return {{"peft_type", "MOA"},
          {"experts", {"poems", "sums", "queries"}},
          {"r", {2, 3, 5}},
          {"lora_alpha", 6},
          {"router", {{"input", "block_input"}, {"pool", "mean"}, {"bias", true}}},
          {"decision", "layer"},
          {"target_modules", {"q_proj"}}};
}

std::string Error(const Json& config) {
  const auto parsed = ParseAdapterConfig(config.dump());
  EXPECT_FALSE(parsed.ok());
  return std::string(parsed.status().message());
}

TEST(MoaConfig, ReadsEveryField) {
  const auto parsed = ParseAdapterConfig(Config().dump());
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  ASSERT_TRUE(parsed->moa.has_value());
  const MoaConfig& moa = *parsed->moa;
  ASSERT_EQ(moa.experts.size(), 3u);
  EXPECT_EQ(moa.experts[1].name, "sums");
  EXPECT_EQ(moa.experts[1].path, "");
  EXPECT_EQ(moa.experts[1].rank, 3);
  EXPECT_EQ(moa.experts[1].alpha, 6);
  EXPECT_EQ(moa.pool, RouterPool::kMean);
  EXPECT_TRUE(moa.router_bias);
  EXPECT_EQ(moa.decision, Decision::kLayer);
}

TEST(MoaConfig, DefaultsAreTheLastTokenAndAVote) {
  Json config = Config();
  config.erase("router");
  config.erase("decision");
  const auto parsed = ParseAdapterConfig(config.dump());
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(parsed->moa->pool, RouterPool::kLast);
  EXPECT_FALSE(parsed->moa->router_bias);
  EXPECT_EQ(parsed->moa->decision, Decision::kVote);
}

TEST(MoaConfig, AnExpertWithAPathNeedsNoRankHere) {
  Json config = Config();
  config.erase("r");
  config.erase("lora_alpha");
  config["expert_paths"] = {{"poems", "a"}, {"sums", "experts/b"}, {"queries", "c"}};
  const auto parsed = ParseAdapterConfig(config.dump());
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(parsed->moa->experts[1].path, "experts/b");
  config["expert_paths"].erase("sums");
  EXPECT_THAT(Error(config), HasSubstr("field 'r'"));
}

TEST(MoaConfig, OtherFormatsHaveNone) {
  const auto parsed = ParseAdapterConfig(R"({"peft_type": "LORA", "r": 2, "lora_alpha": 4})");
  ASSERT_TRUE(parsed.ok());
  EXPECT_FALSE(parsed->moa.has_value());
  EXPECT_THAT(Error({{"peft_type", "LORA"}, {"r", {2, 3}}, {"lora_alpha", 4}}), HasSubstr("field 'r'"));
}

TEST(MoaConfig, WhatIsWrongIsNamed) {
  struct Case {
    const char* field;
    Json value;
    const char* error;
  };
  const Case cases[] = {
      {"experts", nullptr, "field 'experts': must be a list of 1 to 256 names"},
      {"experts", Json::array(), "field 'experts': must be a list"},
      {"experts", {"poems", "poems", "sums"}, "field 'experts': 'poems' is there twice"},
      {"experts", {"poems", "a.b", "sums"}, "field 'experts': a name must be"},
      {"experts", {"poems", 3, "sums"}, "field 'experts': a name must be"},
      {"r", {2, 3}, "field 'r': must be an integer from 1 to 65536, or a list of one for each expert"},
      {"r", {2, 0, 3}, "field 'r'"},
      {"r", 2.5, "field 'r'"},
      {"lora_alpha", {1, 2, 3, 4}, "field 'lora_alpha'"},
      {"lora_alpha", "6", "field 'lora_alpha'"},
      {"lora_alpha", 1e300, "field 'lora_alpha': gives an infinite scale"},
      {"router", {{"pool", "first"}}, "field 'router': 'pool' must be 'last' or 'mean'"},
      {"router", {{"input", "normed"}}, "field 'router': 'input' must be 'block_input'"},
      {"router", {{"bias", 1}}, "field 'router': 'bias' must be true or false"},
      {"router", {{"temperature", 1}}, "field 'router': 'temperature' is not known"},
      {"router", "mlp", "field 'router': must be an object"},
      {"decision", "coin", "field 'decision': must be"},
      {"decision", 1, "field 'decision': must be"},
      {"expert_paths", {{"nobody", "x"}}, "field 'expert_paths': 'nobody' is not one of the experts"},
      {"expert_paths", {{"sums", "../x"}}, "field 'expert_paths': 'sums': path"},
      {"expert_paths", {{"sums", "/etc"}}, "field 'expert_paths': 'sums': path"},
      {"expert_paths", {{"sums", 1}}, "field 'expert_paths': 'sums' needs a directory"},
      {"expert_paths", {"sums"}, "field 'expert_paths': must be an object"},
      {"use_rslora", true, "field 'use_rslora': has no meaning in an MoA"},
      {"rank_pattern", {{"q_proj", 3}}, "field 'rank_pattern': has no meaning in an MoA"},
      {"lora_nums", 3, "field 'lora_nums': has no meaning in an MoA"},
      {"use_dora", true, "use_dora"},
      {"something", true, "field 'something': is not known"},
  };
  for (const Case& c : cases) {
    Json config = Config();
    config[c.field] = c.value;
    EXPECT_THAT(Error(config), HasSubstr(c.error)) << c.field << " " << c.value;
  }
}

}  // namespace
}  // namespace hydrad
