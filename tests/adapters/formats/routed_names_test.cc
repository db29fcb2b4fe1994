#include "server/adapters/formats/routed_names.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstddef>
#include <cstring>

#include "tests/adapters/formats/read_files.h"

namespace hydrad {
namespace {

using ::testing::HasSubstr;

// A tensor lies in its file wherever the header ended: at no alignment.
float FloatAt(const void* data, int i) {
  float value;
  std::memcpy(&value, static_cast<const std::byte*>(data) + i * sizeof(value), sizeof(value));
  return value;
}
float At(const HostMatrix& m, int i) { return FloatAt(m.data, i); }
float First(const FakeTensor& tensor) { return FloatAt(tensor.bytes.data(), 0); }

TEST(RoutedNames, MolaKeepsItsKOfItsExperts) {
  const AdapterFiles files = MoePeft("MOLA");
  const auto contents = Read(files);
  ASSERT_TRUE(contents.ok()) << contents.status();
  EXPECT_EQ(contents->family, "mola");
  EXPECT_EQ(contents->experts, 3);
  ASSERT_EQ(contents->weights.projections.size(), 4);
  const ProjectionWeights& p = contents->weights.projections[3];
  EXPECT_EQ(p.layer, 1);
  EXPECT_EQ(p.projection, Projection::kDown);
  EXPECT_EQ(p.gate, (LoraGate{GateRule::kTopK, 2, true}));
  ASSERT_EQ(p.a.size(), 3);
  const std::string module = "mola.layers.1.mlp.down_proj.";
  EXPECT_EQ(At(p.router, 0), First(files.tensors.at(module + "moe_gate.weight")));
  EXPECT_EQ(At(p.a[2], 0), First(files.tensors.at(module + "experts.2.lora_A.weight")));
  EXPECT_EQ(At(p.b[1], 0), First(files.tensors.at(module + "experts.1.lora_B.weight")));
  EXPECT_EQ(p.scale, std::vector<float>(3, 4));
  EXPECT_FALSE(contents->traits.dense);
  EXPECT_TRUE(contents->traits.routed);
}

TEST(RoutedNames, LoraMoeOfMoePeftIsDense) {
  const auto contents = Read(MoePeft("LORAMOE"));
  ASSERT_TRUE(contents.ok()) << contents.status();
  EXPECT_EQ(contents->family, "loramoe");
  EXPECT_EQ(contents->weights.projections[0].gate, LoraGate{GateRule::kSoftmax});
  EXPECT_TRUE(contents->traits.dense);
}

TEST(RoutedNames, AdaMoleHasAThresholdPerModule) {
  const AdapterFiles files = AdaMole();
  const auto contents = Read(files);
  ASSERT_TRUE(contents.ok()) << contents.status();
  EXPECT_EQ(contents->family, "adamole");
  const ProjectionWeights& p = contents->weights.projections[3];
  EXPECT_EQ(p.gate, (LoraGate{GateRule::kThreshold, 0, false, 0.5f}));
  const std::string module = kPrefix + std::string("1.mlp.down_proj.");
  EXPECT_EQ(At(p.threshold, 0), First(files.tensors.at(module + "lora_threshold.weight")));
  EXPECT_EQ(p.router_bias,
            (std::vector<float>{0, 0, 0, First(files.tensors.at(module + "lora_threshold.bias"))}));
  EXPECT_EQ(At(p.a[1], 0), First(files.tensors.at(module + "lora_A.1.weight")));
  EXPECT_FALSE(contents->traits.top_k);
}

TEST(RoutedNames, ThresholdIsOneShareWhereTheConfigHasNone) {
  AdapterFiles files = AdaMole();
  files.config["max_threshold"] = nullptr;
  EXPECT_FLOAT_EQ(Read(files)->weights.projections[0].gate.threshold, 1.f / 3);
}

// AdaMoLE's code saves each tensor under a second name.
TEST(RoutedNames, SecondCopiesMustBeCopies) {
  AdapterFiles files = AdaMole();
  const std::string module = kPrefix + std::string("1.mlp.down_proj.");
  const std::string copy = module + "moe_layer.experts.2.lora_A.weight";
  files.tensors[copy] = files.tensors.at(module + "lora_A.2.weight");
  EXPECT_TRUE(Read(files).ok()) << Error(files);
  files.tensors[copy].bytes[0] ^= 1;
  EXPECT_THAT(Error(files), HasSubstr("'" + copy + "': is not the same as '" + module + "lora_A.2.weight'"));
}

// The same file with the other gate of AdaMoLE's code: `fields` say which of its two kinds.
AdapterFiles Mole(const Json& fields) {
  AdapterFiles files = AdaMole();
  std::erase_if(files.tensors, [](const auto& t) { return t.first.find("threshold") != std::string::npos; });
  files.config.erase("max_threshold");
  files.config["peft_type"] = "MOLE";
  files.config.update(fields);
  return files;
}

TEST(RoutedNames, MoleKeepsTheLargest) {
  const AdapterFiles files = Mole({{"top_k", 1}, {"threshold", nullptr}});
  const auto contents = Read(files);
  ASSERT_TRUE(contents.ok()) << contents.status();
  EXPECT_EQ(contents->family, "mole");
  EXPECT_EQ(contents->weights.projections[0].gate, (LoraGate{GateRule::kTopK, 1, true}));
  EXPECT_TRUE(contents->traits.top_k);
}

TEST(RoutedNames, MoleKeepsThoseFromItsThresholdOn) {
  AdapterFiles files = Mole({{"top_k", nullptr}, {"threshold", 0.3}});
  const auto contents = Read(files);
  ASSERT_TRUE(contents.ok()) << contents.status();
  EXPECT_EQ(contents->family, "mole");
  const ProjectionWeights& p = contents->weights.projections[0];
  EXPECT_EQ(p.gate, (LoraGate{GateRule::kFixedThreshold, 0, false, 0.3f}));
  EXPECT_EQ(p.threshold.data, nullptr);
  EXPECT_FALSE(contents->traits.top_k);
  const std::string own = kPrefix + std::string("1.mlp.down_proj.lora_threshold.weight");
  files.tensors[own] = MakeTensor("F32", {1, 10}, 1);
  EXPECT_THAT(Error(files), HasSubstr("tensor '" + own + "': does not belong to the 3 experts"));
}

TEST(RoutedNames, ErrorsSpellTheNamesOfTheFile) {
  AdapterFiles files = MoePeft("MOLA");
  const std::string module = "mola.layers.1.mlp.down_proj.";
  files.tensors.erase(module + "experts.1.lora_B.weight");
  EXPECT_THAT(Error(files), HasSubstr("tensor '" + module + "experts.1.lora_B.weight': is missing"));
  files = MoePeft("MOLA");
  files.tensors[module + "moe_gate.weight"] = MakeTensor("F32", {2, 10}, 1);
  EXPECT_THAT(Error(files),
              HasSubstr("tensor '" + module + "moe_gate.weight': shape [2, 10] is not [3, 10]"));
  files = MoePeft("MOLA");
  files.tensors[module + "experts.3.lora_A.weight"] = MakeTensor("F32", {2, 10}, 1);
  EXPECT_THAT(Error(files),
              HasSubstr("experts.3.lora_A.weight': does not belong to the 3 experts that num_experts"));
  files = AdaMole();
  const std::string own = kPrefix + std::string("1.mlp.down_proj.");
  files.tensors.erase(own + "lora_threshold.bias");
  EXPECT_THAT(Error(files), HasSubstr("tensor '" + own + "lora_threshold.bias': is missing"));
}

TEST(RoutedNames, OtherNamesAreRefused) {
  for (const char* name :
       {"mola.layers.0.mlp.down_proj.experts.01.lora_A.weight", "mola.layers.0.mlp.moe_gate.weight",
        "mola.layers.0.mlp.down_proj.experts.x.lora_A.weight",
        "loramoe.layers.0.mlp.down_proj.moe_gate.weight",
        "base_model.model.model.layers.0.mlp.down_proj.lora_route.weight", "mola.layers."}) {
    AdapterFiles files = MoePeft("MOLA");
    files.tensors[name] = MakeTensor("F32", {2, 10}, 1);
    EXPECT_THAT(Error(files),
                HasSubstr(std::string("tensor '") + name + "': unexpected name; known are mola.layers."));
  }
  AdapterFiles files = MoePeft("MOLA");
  files.tensors["mola.layers.7.mlp.down_proj.moe_gate.weight"] = MakeTensor("F32", {3, 10}, 1);
  EXPECT_THAT(Error(files), HasSubstr("'mola.layers.7.mlp.down_proj.moe_gate.weight': layer 7 is outside"));
}

TEST(RoutedNames, LeavesOtherTextAlone) {
  const std::string text =
      "tensor 'base_model.model.model.layers.0.mlp.up_proj.lora_route.weight': x "
      "base_model.model.model.layers.";
  EXPECT_EQ(InFileNames(TensorNames::kPeft, text), text);
  EXPECT_EQ(InFileNames(TensorNames::kMola, text),
            "tensor 'mola.layers.0.mlp.up_proj.moe_gate.weight': x base_model.model.model.layers.");
}

}  // namespace
}  // namespace hydrad
