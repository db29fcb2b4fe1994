// The golden adapters (tests/golden), written by another hand in another language, from the real file system.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "server/adapters/formats/posix_disk.h"
#include "server/adapters/formats/read_adapter.h"
#include "server/model/model_config.h"

namespace hydrad {
namespace {

using ::testing::HasSubstr;

absl::StatusOr<AdapterContents> Read(const std::string& model, const std::string& adapter) {
  const auto config = LoadModelConfig("tests/golden/models/" + model);
  if (!config.ok()) return config.status();
  const auto base = BaseWeights::Open("tests/golden/models/" + model, *config);
  if (!base.ok()) return base.status();
  return ReadAdapter(*MakePosixDisk("tests/golden/adapters"), adapter, config->adapter_shape(), 1 << 20,
                     base->get());
}

struct Golden {
  const char *model, *adapter, *family;
  size_t projections;
  int max_rank, experts;
};

TEST(GoldenAdapters, AreReadAsWhatTheyAre) {
  const std::vector<Golden> goldens = {
      {"llama", "llama_lora", "lora", 14, 4, 1},
      {"llama", "llama_rslora", "lora", 4, 3, 1},
      {"qwen2", "qwen2_patterns", "lora", 4, 7, 1},
      {"llama", "llama_hydralora", "hydralora", 6, 4, 4},
      {"qwen3", "qwen3_hydralora", "hydralora", 8, 3, 3},
      {"mistral", "mistral_loramoe", "loramoe", 6, 2, 3},
      {"llama", "llama_mola", "mola", 14, 3, 4},
      {"qwen3", "qwen3_adamole", "adamole", 8, 2, 5},
      {"mistral", "mistral_mole", "mole", 6, 4, 3},
      {"mistral", "mistral_mole_threshold", "mole", 6, 3, 4},
      {"llama", "llama_hydralora_top", "hydralora", 6, 3, 4},
      {"llama", "llama_moe_peft", "loramoe", 4, 2, 2},
      {"mistral", "mistral_lm_head", "lora", 3, 2, 1},
      {"llama", "llama_dora", "lora", 14, 4, 1},
  };
  for (const Golden& golden : goldens) {
    const auto contents = Read(golden.model, golden.adapter);
    ASSERT_TRUE(contents.ok()) << contents.status();
    EXPECT_EQ(contents->family, golden.family) << golden.adapter;
    EXPECT_EQ(contents->weights.projections.size(), golden.projections) << golden.adapter;
    EXPECT_EQ(contents->max_rank, golden.max_rank) << golden.adapter;
    EXPECT_EQ(contents->experts, golden.experts) << golden.adapter;
  }
}

TEST(GoldenAdapters, ScalesFollowTheConfig) {
  EXPECT_EQ(Read("llama", "llama_rslora")->weights.projections[0].scale[0],
            static_cast<float>(4 / std::sqrt(3.0)));
  // rank_pattern {down_proj: 7, layers.1.self_attn.q_proj: 1}, alpha_pattern {layers.0.mlp.down_proj: 3}, r
  // 4, alpha 8
  const auto patterns = Read("qwen2", "qwen2_patterns");
  ASSERT_TRUE(patterns.ok()) << patterns.status();
  const std::vector<float> scales = {8.0f / 4, 3.0f / 7, 8.0f / 1, 8.0f / 7};
  for (int i = 0; i < 4; ++i) EXPECT_EQ(patterns->weights.projections[i].scale[0], scales[i]) << i;
}

TEST(GoldenAdapters, WhatPeftSavesOfTheEndsIsTakenAsWhatItIs) {
  const auto embedding = Read("qwen2", "qwen2_embedding");
  ASSERT_TRUE(embedding.ok()) << embedding.status();
  EXPECT_EQ(embedding->weights.embedding.rows.data, nullptr) << "its base_layer.weight is the base's own";
  EXPECT_EQ(embedding->targets, (std::vector<std::string>{"v_proj", "embed_tokens"}));
  const auto head = Read("llama", "llama_tied_head");
  ASSERT_TRUE(head.ok()) << head.status();
  EXPECT_EQ(head->weights.embedding.rows.data, head->weights.head.rows.data) << "one matrix";
  EXPECT_NE(head->weights.head.rows.data, nullptr);
  EXPECT_EQ(Read("qwen3", "qwen3_alora")->invocation, (std::vector<int32_t>{5, 9}));
}

TEST(GoldenAdapters, ExpertsOfAnMoaAreReadByName) {
  for (const char* name : {"moa_last", "moa_mean"}) {
    const auto contents = Read("llama_deep", name);
    ASSERT_TRUE(contents.ok()) << contents.status();
    EXPECT_EQ(contents->family, "moa");
    EXPECT_TRUE(contents->weights.projections.empty());
    ASSERT_EQ(contents->experts_by_name.size(), 3u);
    EXPECT_EQ(contents->experts_by_name[2].name, "queries");
    const bool mean = name == std::string("moa_mean");
    EXPECT_EQ(contents->pool, mean ? RouterPool::kMean : RouterPool::kLast);
    EXPECT_EQ(contents->decision, mean ? Decision::kLayer : Decision::kVote);
    EXPECT_EQ(contents->max_rank, mean ? 5 : 3);
    for (const ExpertWeights& expert : contents->experts_by_name) {
      EXPECT_EQ(expert.weights.projections.size(), mean ? 10u : 35u);
      EXPECT_EQ(expert.router.size(), 5u * 32);
      EXPECT_EQ(expert.router_bias.size(), mean ? 0u : 5u);
    }
    EXPECT_EQ(contents->experts_by_name[2].weights.projections[0].scale[0], mean ? 20.0f / 5 : 6.0f / 3);
  }
}

TEST(GoldenAdapters, OfAnotherModelAreRefused) {
  EXPECT_THAT(std::string(Read("llama_deep", "llama_lora").status().message()), HasSubstr("shape ["));
}

}  // namespace
}  // namespace hydrad
