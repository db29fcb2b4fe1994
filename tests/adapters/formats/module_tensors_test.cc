#include "server/adapters/formats/module_tensors.h"

#include <fmt/core.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>

#include "tests/fakes/adapter_files.h"

namespace hydrad {
namespace {

using ::testing::HasSubstr;

// A parsed file and the bytes that it views.
struct Parsed {
  explicit Parsed(const std::map<std::string, FakeTensor>& tensors) : bytes(SafetensorsBytes(tensors)) {
    const std::span<const std::byte> view = std::as_bytes(std::span<const char>(bytes));
    file = *Safetensors::ParseBytes(view, Safetensors::kMaxAdapterHeader);
  }
  std::string bytes;
  Safetensors file;
};
AdapterShape Shape() { return TinyModel().adapter_shape(); }

TEST(SortByModule, GroupsPartsWithTheSizesOfTheBase) {
  std::map<std::string, FakeTensor> tensors;
  const std::vector<std::pair<const char*, std::pair<int, int>>> sizes = {
      {"self_attn.q_proj", {8, 12}}, {"self_attn.k_proj", {8, 6}}, {"self_attn.v_proj", {8, 6}},
      {"self_attn.o_proj", {12, 8}}, {"mlp.gate_proj", {8, 10}},   {"mlp.up_proj", {8, 10}},
      {"mlp.down_proj", {10, 8}}};
  for (const auto& [module, size] : sizes) {
    tensors[kPrefix + std::string("1.") + module + ".lora_A.weight"] = MakeTensor("F32", {1, 1}, 1);
    tensors[kPrefix + std::string("0.") + module + ".lora_B.weight"] = MakeTensor("F32", {1, 1}, 1);
  }
  const Parsed parsed(tensors);
  const auto modules = SortByModule(parsed.file, Shape());
  ASSERT_TRUE(modules.ok()) << modules.status();
  ASSERT_EQ(modules->size(), 14);
  for (int i = 0; i < 14; ++i) {
    const ModuleTensors& module = (*modules)[i];
    EXPECT_EQ(module.layer, i / 7);
    EXPECT_EQ(module.projection, static_cast<Projection>(i % 7));
    EXPECT_EQ(module.path, fmt::format("model.layers.{}.{}", i / 7, sizes[i % 7].first));
    EXPECT_EQ(std::pair(module.in, module.out), sizes[i % 7].second);
    EXPECT_TRUE(module.parts.contains(i < 7 ? "lora_B" : "lora_A"));
  }
}

TEST(SortByModule, ErrorsNameTheTensor) {
  EXPECT_EQ(SortByModule(Parsed({}).file, Shape()).status().message(), "holds no tensors");
  auto files = PlainLora();
  files.tensors["base_model.model.model.norm.weight"] = MakeTensor("F32", {1}, 1);
  EXPECT_EQ(SortByModule(Parsed(files.tensors).file, Shape()).status().message(),
            "tensor 'base_model.model.model.norm.weight': trained norms are not supported");
}

TEST(SortByModule, TheEndsOfTheNetworkAreModulesToo) {
  std::map<std::string, FakeTensor> tensors;
  tensors["base_model.model.lm_head.lora_A.weight"] = MakeTensor("F32", {1, 1}, 1);
  tensors["base_model.model.model.embed_tokens.lora_embedding_A"] = MakeTensor("F32", {1, 1}, 1);
  const Parsed parsed(tensors);
  const auto modules = SortByModule(parsed.file, Shape());
  ASSERT_TRUE(modules.ok()) << modules.status();
  ASSERT_EQ(modules->size(), 2u);
  EXPECT_EQ((*modules)[0].projection, Projection::kEmbedding);
  EXPECT_EQ(std::pair((*modules)[0].in, (*modules)[0].out), std::pair(11, 8));
  EXPECT_EQ((*modules)[1].projection, Projection::kHead);
  EXPECT_EQ(std::pair((*modules)[1].in, (*modules)[1].out), std::pair(8, 11));
}

TEST(SortByModule, APartHasOneSpelling) {
  auto files = PlainLora();
  const std::string q = std::string(kPrefix) + "0.self_attn.q_proj.";
  files.tensors[q + "bias"] = files.tensors[q + "base_layer.bias"] = MakeTensor("F32", {12}, 1);
  EXPECT_THAT(std::string(SortByModule(Parsed(files.tensors).file, Shape()).status().message()),
              HasSubstr("q_proj.bias': is there as '" + q + "base_layer.bias' too"));
}

TEST(ModuleTensors, PartsAreCheckedInFull) {
  const Parsed parsed(PlainLora().tensors);
  const ModuleTensors module = SortByModule(parsed.file, Shape())->front();
  const auto check = [&](std::vector<std::string> expected) {
    return std::string(module.CheckParts(expected, "is odd").message());
  };
  EXPECT_EQ(check({"lora_A", "lora_B"}), "");
  EXPECT_EQ(check({"lora_A"}),
            "tensor 'base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight': is odd");
  EXPECT_THAT(check({"lora_A", "lora_B", "lora_C"}), HasSubstr("lora_C.weight': is missing"));
  TensorStorage storage;
  EXPECT_TRUE(module.Matrix("lora_A", 2, 8, storage).ok());
  EXPECT_EQ(
      module.Matrix("lora_A", 3, 8, storage).status().message(),
      "tensor 'base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight': shape [2, 8] is not [3, 8]");
}

}  // namespace
}  // namespace hydrad
