#include "server/adapters/formats/peft_lora.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "tests/adapters/formats/read_files.h"

namespace hydrad {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string Key(int layer, const std::string& rest) {
  return kPrefix + std::to_string(layer) + "." + rest + ".weight";
}

TEST(ReadPeftLora, TranslatesEveryModule) {
  for (const char* dtype : {"F32", "BF16"}) {
    const AdapterFiles files = PlainLora(1, dtype);
    const auto contents = Read(files);
    ASSERT_TRUE(contents.ok()) << contents.status();
    const auto& projections = contents->weights.projections;
    ASSERT_EQ(projections.size(), 4);
    for (int i = 0; i < 4; ++i) {
      const ProjectionWeights& p = projections[i];
      const std::string module = i % 2 == 0 ? "self_attn.q_proj" : "mlp.down_proj";
      EXPECT_EQ(p.layer, i / 2);
      EXPECT_EQ(p.projection, i % 2 == 0 ? Projection::kQ : Projection::kDown);
      EXPECT_EQ(p.gate, LoraGate{});
      EXPECT_EQ(p.router.data, nullptr);
      ASSERT_EQ(p.a.size(), 1);
      ASSERT_EQ(p.b.size(), 1);
      EXPECT_TRUE(Holds(p.a[0], files.tensors.at(Key(i / 2, module + ".lora_A"))));
      EXPECT_TRUE(Holds(p.b[0], files.tensors.at(Key(i / 2, module + ".lora_B"))));
      EXPECT_THAT(p.scale, ElementsAre(4.0f));
    }
  }
}

TEST(ReadPeftLora, F16HasTheValuesOfTheSameF32) {
  const auto half = Read(PlainLora(1, "F16")), full = Read(PlainLora(1, "F32"));
  ASSERT_TRUE(half.ok()) << half.status();
  for (size_t i = 0; i < full->weights.projections.size(); ++i) {
    const HostMatrix &a = half->weights.projections[i].a[0], &b = full->weights.projections[i].a[0];
    ASSERT_EQ(a.dtype, DType::kF32);
    EXPECT_EQ(std::memcmp(a.data, b.data, 4 * b.rows * b.cols), 0);
  }
}

TEST(ReadPeftLora, TensorsTellLayersAndModulesWhereTheConfigDoesNot) {
  AdapterFiles files = PlainLora();
  std::erase_if(files.tensors,
                [](const auto& t) { return t.first.find("layers.1.self_attn") == std::string::npos; });
  files.config.erase("target_modules");
  const auto contents = Read(files);
  ASSERT_TRUE(contents.ok()) << contents.status();
  ASSERT_EQ(contents->weights.projections.size(), 1);
  EXPECT_EQ(contents->weights.projections[0].layer, 1);
  EXPECT_THAT(contents->targets, ElementsAre("q_proj"));
}

TEST(ReadPeftLora, PatternsChangeRankAndScaleOfTheModulesTheyMatch) {
  AdapterFiles files = PlainLora();
  files.config["rank_pattern"] = {{"layers.1.mlp.*", 5}};
  files.config["alpha_pattern"] = {{"q_proj", 3}};
  files.config["use_rslora"] = true;
  files.tensors[Key(1, "mlp.down_proj.lora_A")] = MakeTensor("F32", {5, 10}, 7);
  files.tensors[Key(1, "mlp.down_proj.lora_B")] = MakeTensor("F32", {8, 5}, 8);
  const auto contents = Read(files);
  ASSERT_TRUE(contents.ok()) << contents.status();
  const auto& p = contents->weights.projections;
  EXPECT_THAT(p[0].scale, ElementsAre(static_cast<float>(3 / std::sqrt(2.0))));
  EXPECT_THAT(p[1].scale, ElementsAre(static_cast<float>(8 / std::sqrt(2.0))));
  EXPECT_THAT(p[3].scale, ElementsAre(static_cast<float>(8 / std::sqrt(5.0))));
  EXPECT_EQ(p[3].a[0].rows, 5);
  EXPECT_EQ(contents->max_rank, 5);
}

TEST(ReadPeftLora, RankOfTheTensorsMustBeTheConfigs) {
  AdapterFiles files = PlainLora();
  files.config["r"] = 4;
  EXPECT_THAT(Error(files), HasSubstr("q_proj.lora_A.weight': shape [2, 8] is not [4, 8]"));
}

TEST(ReadPeftLora, HydraTensorsAreNeverTakenForALora) {
  AdapterFiles files = Hydra();
  files.config.erase("lora_nums");
  EXPECT_THAT(Error(files),
              HasSubstr("is of HydraLoRA or LoRAMoE, but adapter_config.json has no lora_nums"));
}

TEST(ReadPeftLora, ABiasOfBIsScaled) {
  AdapterFiles files = PlainLora();
  files.config["lora_bias"] = true;
  for (int layer = 0; layer < 2; ++layer) {
    files.tensors[kPrefix + std::to_string(layer) + ".self_attn.q_proj.lora_B.bias"] =
        MakeTensor("BF16", {12}, 40);
    files.tensors[kPrefix + std::to_string(layer) + ".mlp.down_proj.lora_B.bias"] =
        MakeTensor("F32", {8}, 41);
  }
  const auto contents = Read(files);
  ASSERT_TRUE(contents.ok()) << contents.status();
  const auto values = MakeTensor("F32", {8}, 41);
  const auto& down = contents->weights.projections[1];
  ASSERT_EQ(down.out_bias.size(), 8u);
  for (int i = 0; i < 8; ++i) {
    float value;
    std::memcpy(&value, values.bytes.data() + i * sizeof(value), sizeof(value));
    EXPECT_EQ(down.out_bias[i], 4 * value) << i;
  }
}

TEST(ReadPeftLora, OfTheEnds) {
  AdapterFiles files = PlainLora();
  files.config["target_modules"] = {"q_proj", "down_proj", "embed_tokens", "lm_head"};
  const std::string embedding = "base_model.model.model.embed_tokens.", head = "base_model.model.lm_head.";
  files.tensors[embedding + "lora_embedding_A"] = MakeTensor("F32", {2, 11}, 1);
  files.tensors[embedding + "lora_embedding_B"] = MakeTensor("F32", {8, 2}, 2);
  files.tensors[head + "lora_A.weight"] = MakeTensor("F32", {2, 8}, 3);
  files.tensors[head + "lora_B.weight"] = MakeTensor("F32", {11, 2}, 4);
  const auto contents = Read(files);
  ASSERT_TRUE(contents.ok()) << contents.status();
  const auto& projections = contents->weights.projections;
  ASSERT_EQ(projections.size(), 6u);
  const auto of = [&](Projection projection) {
    return *std::ranges::find(projections, projection, &ProjectionWeights::projection);
  };
  EXPECT_TRUE(Holds(of(Projection::kEmbedding).a[0], files.tensors.at(embedding + "lora_embedding_A")));
  EXPECT_TRUE(Holds(of(Projection::kEmbedding).b[0], files.tensors.at(embedding + "lora_embedding_B")));
  EXPECT_TRUE(Holds(of(Projection::kHead).b[0], files.tensors.at(head + "lora_B.weight")));
  EXPECT_THAT(contents->targets, ElementsAre("q_proj", "down_proj", "embed_tokens", "lm_head"));
}

}  // namespace
}  // namespace hydrad
