#include "server/model/base_weights.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "tests/fakes/tiny_base.h"

namespace hydrad {
namespace {

using ::testing::ElementsAreArray;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

bool Holds(const HostMatrix& matrix, const FakeTensor& tensor) {
  return matrix.dtype == DType::kF32 && matrix.rows == tensor.shape[0] && matrix.cols == tensor.shape[1] &&
         std::memcmp(matrix.data, tensor.bytes.data(), tensor.bytes.size()) == 0;
}

TEST(BaseWeights, FindsMatricesByTheirModule) {
  const TinyBase base(TinyModel());
  for (const char* path :
       {"model.layers.0.self_attn.k_proj", "model.layers.1.mlp.down_proj", "model.embed_tokens", "lm_head"}) {
    const auto matrix = base.weights()->Matrix(path);
    ASSERT_TRUE(matrix.ok()) << matrix.status();
    EXPECT_TRUE(Holds(*matrix, base.tensor(path + std::string(".weight")))) << path;
  }
}

TEST(BaseWeights, ATiedHeadIsTheEmbedding) {
  ModelConfig config = TinyModel();
  config.tied_embeddings = true;
  const TinyBase base(config);
  EXPECT_TRUE(Holds(*base.weights()->Matrix("lm_head"), base.tensor("model.embed_tokens.weight")));
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
    EXPECT_THAT(std::string(base.weights()->Matrix(path).status().message()),
                HasSubstr("the base model has no"));
  }
  EXPECT_TRUE(absl::IsNotFound(BaseWeights::Open("/none/such", TinyModel()).status()));
}

}  // namespace
}  // namespace hydrad
