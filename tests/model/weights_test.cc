#include "server/model/weights.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "server/backend/cpu/cpu_backend.h"
#include "server/base/status_macros.h"
#include "tests/model/model_files.h"

namespace hydrad {
namespace {

using ::testing::HasSubstr;

// Loads the model `name` after `edit` has changed its tensors.
absl::StatusOr<ModelWeights> LoadEdited(const std::string& name,
                                        const std::function<void(TensorFiles&)>& edit) {
  const std::string source = "tests/golden/models/" + name;
  TensorFiles tensors = ReadTensors(source + "/model.safetensors");
  edit(tensors);
  const TempDir dir;
  WriteTensors(dir.path() + "/model.safetensors", tensors);
  const auto backend = MakeCpuBackend({.threads = 1});
  const auto checkpoint = Checkpoint::Open(dir.path());
  RETURN_IF_ERROR(checkpoint.status());
  return LoadWeights(**checkpoint, *LoadModelConfig(source), *backend);
}

std::string ErrorOf(const absl::StatusOr<ModelWeights>& weights) {
  return std::string(weights.status().message());
}

TEST(Weights, StacksWhatReadsTheSameInput) {
  const auto weights = LoadEdited("llama", [](TensorFiles&) {});
  ASSERT_TRUE(weights.ok()) << weights.status();
  const ModelConfig c = *LoadModelConfig("tests/golden/models/llama");
  ASSERT_EQ(weights->layers.size(), static_cast<size_t>(c.num_layers));
  const LayerWeights& layer = weights->layers.front();
  EXPECT_EQ(layer.qkv->rows(), (c.num_heads + 2 * c.num_kv_heads) * c.head_dim);
  EXPECT_EQ(layer.qkv->cols(), c.hidden_size);
  EXPECT_EQ(layer.gate_up->rows(), 2 * c.ffn_size);
  EXPECT_EQ(layer.down->cols(), c.ffn_size);
  EXPECT_EQ(layer.q_norm, nullptr);
}

TEST(Weights, HoldsATiedEmbeddingOnce) {
  const auto tied = LoadEdited("llama", [](TensorFiles&) {});
  EXPECT_EQ(tied->lm_head, nullptr);
  EXPECT_EQ(&tied->output(), tied->embedding.get());
}

TEST(Weights, KeepsAnUntiedHeadApartAndReadsShards) {
  const std::string dir = "tests/golden/models/llama_untied_sharded";
  const auto backend = MakeCpuBackend({.threads = 1});
  const auto weights = LoadWeights(**Checkpoint::Open(dir), *LoadModelConfig(dir), *backend);
  ASSERT_TRUE(weights.ok()) << weights.status();
  EXPECT_EQ(&weights->output(), weights->lm_head.get());
}

TEST(Weights, LoadsQkNorms) {
  const auto weights = LoadEdited("qwen3", [](TensorFiles&) {});
  ASSERT_TRUE(weights.ok());
  EXPECT_NE(weights->layers[0].q_norm, nullptr);
  EXPECT_NE(weights->layers[0].k_norm, nullptr);
}

TEST(Weights, NamesTheTensorThatIsMissing) {
  for (const char* name : {"model.embed_tokens.weight", "model.norm.weight",
                           "model.layers.1.mlp.up_proj.weight", "model.layers.0.self_attn.k_proj.bias"}) {
    const auto weights =
        LoadEdited("qwen2", [&](TensorFiles& tensors) { ASSERT_EQ(tensors.erase(name), 1); });
    EXPECT_EQ(weights.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(ErrorOf(weights), HasSubstr(name));
  }
}

TEST(Weights, NamesTheTensorOfAnotherShapeOrType) {
  const std::string name = "model.layers.0.self_attn.o_proj.weight";
  EXPECT_THAT(ErrorOf(LoadEdited(
                  "llama", [&](TensorFiles& t) { t[name].shape = {t[name].shape[0] * t[name].shape[1]}; })),
              HasSubstr("model.safetensors: tensor '" + name + "': shape"));
  EXPECT_THAT(ErrorOf(LoadEdited("llama", [&](TensorFiles& t) { t[name].dtype = "I16"; })),
              HasSubstr("tensor '" + name + "': dtype I16"));
}

TEST(Weights, LeavesTensorsAloneThatNobodyKnows) {
  const auto weights =
      LoadEdited("llama", [](TensorFiles& t) { t["model.extra.weight"] = t["model.norm.weight"]; });
  EXPECT_TRUE(weights.ok()) << weights.status();
}

}  // namespace
}  // namespace hydrad
