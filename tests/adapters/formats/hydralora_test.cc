#include "server/adapters/formats/hydralora.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/adapters/formats/read_files.h"

namespace hydrad {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

const std::string kModule = kPrefix + std::string("1.mlp.down_proj.");

TEST(ReadHydraLora, HeadsShareOneA) {
  const AdapterFiles files = Hydra();
  const auto contents = Read(files);
  ASSERT_TRUE(contents.ok()) << contents.status();
  EXPECT_EQ(contents->family, "hydralora");
  EXPECT_EQ(contents->experts, 3);
  EXPECT_EQ(contents->max_rank, 2);
  ASSERT_EQ(contents->weights.projections.size(), 4);
  const ProjectionWeights& p = contents->weights.projections[3];
  EXPECT_EQ(p.layer, 1);
  EXPECT_EQ(p.projection, Projection::kDown);
  EXPECT_EQ(p.gate, LoraGate{GateRule::kSoftmax});
  EXPECT_TRUE(Holds(p.router, files.tensors.at(kModule + "lora_route.weight")));
  EXPECT_TRUE(p.router_bias.empty());
  ASSERT_EQ(p.a.size(), 1);
  EXPECT_TRUE(Holds(p.a[0], files.tensors.at(kModule + "lora_A.weight")));
  ASSERT_EQ(p.b.size(), 3);
  for (int e = 0; e < 3; ++e) {
    EXPECT_TRUE(Holds(p.b[e], files.tensors.at(kModule + "lora_B" + std::to_string(e) + ".weight")));
  }
  EXPECT_THAT(p.scale, ElementsAre(4.0f, 4.0f, 4.0f));
}

TEST(ReadHydraLora, LoraMoeHasAnAForEachExpert) {
  const AdapterFiles files = Hydra(1, false);
  const auto contents = Read(files);
  ASSERT_TRUE(contents.ok()) << contents.status();
  EXPECT_EQ(contents->family, "loramoe");
  const ProjectionWeights& p = contents->weights.projections[3];
  ASSERT_EQ(p.a.size(), 3);
  for (int e = 0; e < 3; ++e) {
    EXPECT_TRUE(Holds(p.a[e], files.tensors.at(kModule + "lora_A" + std::to_string(e) + ".weight")));
  }
}

TEST(ReadHydraLora, HeadsBeyondTenAreInNumericalOrder) {
  AdapterFiles files = Hydra();
  files.config["lora_nums"] = 12;
  files.config.erase("target_modules");
  files.tensors.clear();
  files.tensors[kModule + "lora_route.weight"] = MakeTensor("F32", {12, 10}, 1);
  files.tensors[kModule + "lora_A.weight"] = MakeTensor("F32", {2, 10}, 2);
  for (int e = 0; e < 12; ++e) {
    files.tensors[kModule + "lora_B" + std::to_string(e) + ".weight"] = MakeTensor("F32", {8, 2}, 10 + e);
  }
  const auto contents = Read(files);
  ASSERT_TRUE(contents.ok()) << contents.status();
  const ProjectionWeights& p = contents->weights.projections[0];
  EXPECT_TRUE(Holds(p.b[10], files.tensors.at(kModule + "lora_B10.weight")));
  EXPECT_TRUE(Holds(p.b[2], files.tensors.at(kModule + "lora_B2.weight")));
}

TEST(ReadHydraLora, NumberOfHeadsIsExact) {
  AdapterFiles files = Hydra();
  files.config["lora_nums"] = 4;
  EXPECT_THAT(Error(files), HasSubstr("lora_B3.weight': is missing"));
  files.config["lora_nums"] = 2;
  EXPECT_THAT(Error(files),
              HasSubstr("lora_B2.weight': does not belong to the 2 experts that lora_nums tells"));
}

TEST(ReadHydraLora, MixOfSharedAndOwnAIsRefused) {
  AdapterFiles files = Hydra();
  files.tensors[kModule + "lora_A0.weight"] = MakeTensor("F32", {2, 10}, 1);
  EXPECT_THAT(Error(files), HasSubstr("lora_A.weight': does not belong"));
  AdapterFiles moe = Hydra(1, false);
  moe.tensors.erase(kModule + "lora_A1.weight");
  EXPECT_THAT(Error(moe), HasSubstr("lora_A1.weight': is missing"));
}

TEST(ReadHydraLora, PlainLoraTensorsUnderLoraNumsAreRefused) {
  AdapterFiles files = PlainLora();
  files.config["lora_nums"] = 3;
  EXPECT_THAT(Error(files), HasSubstr("lora_B.weight': does not belong to the 3 experts"));
}

TEST(ReadHydraLora, RouterHasARowForEachHeadOverTheModulesInput) {
  AdapterFiles files = Hydra();
  files.tensors[kModule + "lora_route.weight"] = MakeTensor("F32", {10, 3}, 1);
  EXPECT_THAT(Error(files), HasSubstr("lora_route.weight': shape [10, 3] is not [3, 10]"));
}

}  // namespace
}  // namespace hydrad
