#include "server/model/base_weights.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/fakes/tiny_base.h"

namespace hydrad {
namespace {

using ::testing::ElementsAreArray;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// Whether the module's matrix is that tensor.
void ExpectMatrix(const TinyBase& base, const std::string& path, const FakeTensor& tensor) {
  std::string bytes;
  const absl::Status shown = base.weights()->Visit(path, [&](int, const HostMatrix& block) {
    ASSERT_EQ(block.dtype, DType::kF32);
    ASSERT_EQ(block.cols, tensor.shape[1]);
    bytes.append(static_cast<const char*>(block.data), sizeof(float) * block.rows * block.cols);
  });
  EXPECT_TRUE(shown.ok()) << shown;
  EXPECT_EQ(bytes, tensor.bytes) << path;
}

TEST(BaseWeights, FindsMatricesByTheirModule) {
  const TinyBase base(TinyModel());
  for (const char* path :
       {"model.layers.0.self_attn.k_proj", "model.layers.1.mlp.down_proj", "model.embed_tokens", "lm_head"}) {
    ExpectMatrix(base, path, base.tensor(path + std::string(".weight")));
  }
}

TEST(BaseWeights, ATiedHeadIsTheEmbedding) {
  ModelConfig config = TinyModel();
  config.tied_embeddings = true;
  const TinyBase base(config);
  ExpectMatrix(base, "lm_head", base.tensor("model.embed_tokens.weight"));
}

TEST(BaseWeights, BiasesAreThereWhereTheConfigSaysSo) {
  ModelConfig config = TinyModel();
  config.qkv_bias = true;
  const TinyBase base(config);
  const std::string q = "model.layers.1.self_attn.q_proj";
  EXPECT_THAT(*base.weights()->Bias(q), ElementsAreArray(ValuesOf(base.tensor(q + ".bias"))));
  EXPECT_THAT(*base.weights()->Bias("model.layers.1.self_attn.o_proj"), IsEmpty());
  EXPECT_THAT(*base.weights()->Bias("lm_head"), IsEmpty());
}

TEST(BaseWeights, WhatTheModelLacksIsRefused) {
  const TinyBase base(TinyModel());
  for (const char* path : {"model.layers.2.mlp.down_proj", "model.layers.0.self_attn.x_proj", ""}) {
    const absl::Status refused = base.weights()->Visit(path, [](int, const HostMatrix&) { FAIL(); });
    EXPECT_THAT(std::string(refused.message()), HasSubstr("the base model has no"));
  }
  EXPECT_TRUE(absl::IsNotFound(BaseWeights::Open("/none/such", TinyModel()).status()));
}

}  // namespace
}  // namespace hydrad
