#include "server/adapters/formats/dora.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "server/adapters/formats/read_adapter.h"
#include "tests/fakes/fake_disk.h"
#include "tests/fakes/tiny_base.h"

namespace hydrad {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

const std::string kQ = std::string(kPrefix) + "0.self_attn.q_proj.";

ModelConfig Biased() {
  ModelConfig model = TinyModel();
  model.qkv_bias = true;
  return model;
}

class DoraTest : public ::testing::Test {
 protected:
  DoraTest() {
    files_.config["use_dora"] = true;
    for (int layer = 0; layer < 2; ++layer) {
      const std::string prefix = kPrefix + std::to_string(layer);
      files_.tensors[prefix + ".self_attn.q_proj.lora_magnitude_vector"] = MakeTensor("F32", {12}, 50);
      files_.tensors[prefix + ".mlp.down_proj.lora_magnitude_vector"] = MakeTensor("F32", {8}, 51);
    }
  }
  absl::StatusOr<AdapterContents> Read(const BaseWeights* base) {
    disk_.Put("a", files_.Bytes());
    return ReadAdapter(disk_, "a", base_model_.adapter_shape(), 1 << 20, base);
  }
  std::string Error() { return std::string(Read(base_.weights()).status().message()); }

  // m / |W + s B A| of a row of the first q_proj.
  double Scale(int row) {
    const auto w = ValuesOf(base_.tensor("model.layers.0.self_attn.q_proj.weight"));
    const auto a = ValuesOf(files_.tensors.at(kQ + "lora_A.weight"));
    const auto b = ValuesOf(files_.tensors.at(kQ + "lora_B.weight"));
    double sum = 0;
    for (int k = 0; k < 8; ++k) {
      const double change = b[2 * row] * a[k] + b[2 * row + 1] * a[8 + k];
      sum += std::pow(w[8 * row + k] + 4 * change, 2);
    }
    return ValuesOf(files_.tensors.at(kQ + "lora_magnitude_vector"))[row] / std::sqrt(sum);
  }

  const ModelConfig base_model_ = Biased();
  const TinyBase base_{base_model_};
  AdapterFiles files_ = PlainLora();
  FakeDisk disk_;
};

TEST_F(DoraTest, ScalesOutputsButNotTheBaseBias) {
  const auto contents = Read(base_.weights());
  ASSERT_TRUE(contents.ok()) << contents.status();
  const ProjectionWeights& q = contents->weights.projections[0];
  const auto bias = ValuesOf(base_.tensor("model.layers.0.self_attn.q_proj.bias"));
  ASSERT_EQ(q.out_scale.size(), 12u);
  ASSERT_EQ(q.out_bias.size(), 12u);
  for (int n = 0; n < 12; ++n) {  // to float's precision: the norm's squares are summed in double
    EXPECT_NEAR(q.out_scale[n], Scale(n), 4e-7 * Scale(n)) << n;
    EXPECT_NEAR(q.out_bias[n], (1 - Scale(n)) * bias[n], 1e-6) << n;
  }
  const ProjectionWeights& down = contents->weights.projections[1];
  EXPECT_EQ(down.out_scale.size(), 8u);
  EXPECT_THAT(down.out_bias, IsEmpty()) << "the base has no bias there";
}

TEST_F(DoraTest, ATrainedBiasStandsInForTheBases) {
  files_.config["bias"] = "lora_only";
  const FakeTensor own = files_.tensors[kQ + "base_layer.bias"] = MakeTensor("F32", {12}, 60);
  const auto contents = Read(base_.weights());
  ASSERT_TRUE(contents.ok()) << contents.status();
  const auto of_base = ValuesOf(base_.tensor("model.layers.0.self_attn.q_proj.bias"));
  for (int n = 0; n < 12; ++n) {  // y = scale * (W x + of_base + ...) + out_bias
    const double expected = ValuesOf(own)[n] - Scale(n) * of_base[n];
    EXPECT_NEAR(contents->weights.projections[0].out_bias[n], expected, 1e-6) << n;
  }
}

TEST_F(DoraTest, BothSpellingsOfTheMagnitudes) {
  const auto one = Read(base_.weights());
  files_.tensors[kQ + "lora_magnitude_vector.weight"] = files_.tensors.at(kQ + "lora_magnitude_vector");
  files_.tensors.erase(kQ + "lora_magnitude_vector");
  const auto other = Read(base_.weights());
  ASSERT_TRUE(one.ok() && other.ok()) << other.status();
  EXPECT_EQ(one->weights.projections[0].out_scale, other->weights.projections[0].out_scale);
}

TEST_F(DoraTest, WhatIsBrokenIsNamed) {
  EXPECT_TRUE(absl::IsFailedPrecondition(Read(nullptr).status()));
  const AdapterFiles good = files_;
  files_.tensors.erase(kQ + "lora_magnitude_vector");
  EXPECT_THAT(Error(), HasSubstr("q_proj.lora_magnitude_vector': is missing"));
  files_ = good;
  files_.config["use_dora"] = false;
  EXPECT_THAT(Error(), HasSubstr("is of DoRA, but adapter_config.json does not set use_dora"));
  files_ = good;
  files_.tensors[kQ + "lora_magnitude_vector"] = MakeTensor("F32", {12, 1}, 1);
  EXPECT_THAT(Error(), HasSubstr("shape [12, 1] is not [12]"));
}

}  // namespace
}  // namespace hydrad
