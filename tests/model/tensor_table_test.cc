#include "server/model/tensor_table.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "tests/model/model_files.h"

namespace hydrad {
namespace {

const char* const kModels[] = {"llama", "llama_bias", "llama_multi_head", "mistral", "qwen2", "qwen3"};

// The table of a config lists exactly the tensors of the checkpoint that transformers wrote for it.
TEST(TensorTable, ListsTheTensorsOfEveryFamily) {
  for (const char* name : kModels) {
    const std::string dir = std::string("tests/golden/models/") + name;
    const auto config = LoadModelConfig(dir);
    ASSERT_TRUE(config.ok()) << config.status();
    TensorFiles tensors = ReadTensors(dir + "/model.safetensors");
    const auto take = [&](const TensorRow& row, int layer) {
      const auto found = tensors.find(TensorName(row, layer));
      ASSERT_NE(found, tensors.end()) << name << ": " << TensorName(row, layer);
      const std::vector<int64_t> shape =
          row.rows == 1 ? std::vector<int64_t>{row.cols} : std::vector<int64_t>{row.rows, row.cols};
      EXPECT_EQ(found->second.shape, shape) << name << ": " << row.name;
      tensors.erase(found);
    };
    for (const TensorRow& row : GlobalTensors(*config)) take(row, 0);
    for (int layer = 0; layer < config->num_layers; ++layer) {
      for (const TensorRow& row : LayerTensors(*config)) take(row, layer);
    }
    EXPECT_TRUE(tensors.empty()) << name << ": " << tensors.begin()->first;
  }
}

TEST(TensorTable, PutsTheNumberOfTheLayerIntoTheName) {
  EXPECT_EQ(TensorName({"model.layers.{}.x", WeightId::kO, 1, 1}, 12), "model.layers.12.x");
  EXPECT_EQ(TensorName({"model.norm.weight", WeightId::kFinalNorm, 1, 1}, 12), "model.norm.weight");
}

TEST(TensorTable, KnowsWhatMayBeLeftOver) {
  ModelConfig config;
  EXPECT_TRUE(MayBeLeftOver(config, "model.layers.0.self_attn.rotary_emb.inv_freq"));
  EXPECT_FALSE(MayBeLeftOver(config, "lm_head.weight"));
  config.tied_embeddings = true;
  EXPECT_TRUE(MayBeLeftOver(config, "lm_head.weight"));
  EXPECT_FALSE(MayBeLeftOver(config, "model.layers.0.self_attn.q_proj.bias"));
}

// q before k before v, gate before up: the order in which adapters expect their columns.
TEST(TensorTable, StacksPartsInOneOrder) {
  ModelConfig config;
  config.qkv_bias = true;
  std::vector<std::string> qkv;
  for (const TensorRow& row : LayerTensors(config)) {
    if (row.into == WeightId::kQkv) qkv.push_back(row.name.substr(row.name.find("attn.") + 5));
  }
  EXPECT_EQ(qkv, (std::vector<std::string>{"q_proj.weight", "k_proj.weight", "v_proj.weight", "q_proj.bias",
                                           "k_proj.bias", "v_proj.bias"}));
}

}  // namespace
}  // namespace hydrad
