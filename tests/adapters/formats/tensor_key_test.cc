#include "server/adapters/formats/tensor_key.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace hydrad {
namespace {

using ::testing::StartsWith;

constexpr char kStem[] = "base_model.model.model.layers.";

std::string Error(const std::string& key) { return std::string(ParseTensorKey(key, 4).status().message()); }

TEST(ParseTensorKey, TakesEveryProjectionApart) {
  const std::vector<std::pair<const char*, Projection>> modules = {
      {"self_attn.q_proj", Projection::kQ}, {"self_attn.k_proj", Projection::kK},
      {"self_attn.v_proj", Projection::kV}, {"self_attn.o_proj", Projection::kO},
      {"mlp.gate_proj", Projection::kGate}, {"mlp.up_proj", Projection::kUp},
      {"mlp.down_proj", Projection::kDown}};
  for (const auto& [module, projection] : modules) {
    const std::string name = kStem + std::string("3.") + module + ".lora_A.weight";
    const auto key = ParseTensorKey(name, 4);
    ASSERT_TRUE(key.ok()) << key.status();
    EXPECT_EQ(key->layer, 3);
    EXPECT_EQ(key->projection, projection);
    EXPECT_EQ(key->path, std::string("model.layers.3.") + module);
    EXPECT_EQ(key->part, "lora_A");
    const std::string of_expert = kStem + std::string("3.") + module + ".lora_A.poems.weight";
    EXPECT_EQ(ParseTensorKey(of_expert, 4)->part, "lora_A.poems");
  }
}

TEST(ParseTensorKey, LayersAreThoseOfTheModel) {
  EXPECT_EQ(Error(kStem + std::string("4.mlp.up_proj.lora_A.weight")),
            "layer 4 is outside of the model's 4 layers");
  for (const char* layer : {"", "-1", "+1", "03", "1x", "1e2", "99999999999999999999", "1234567"}) {
    EXPECT_THAT(Error(kStem + std::string(layer) + ".mlp.up_proj.lora_A.weight"),
                StartsWith("unexpected name"))
        << layer;
  }
}

TEST(ParseTensorKey, NamesAreExact) {
  const std::string q = kStem + std::string("0.self_attn.q_proj.");
  for (const std::string& key : {std::string(""),
                                 std::string("base_model.model."),
                                 std::string("model.layers.0.self_attn.q_proj.lora_A.weight"),
                                 q,
                                 q + "lora_A",
                                 q + "weight",
                                 q + "lora_A.weight.x",
                                 q + "base_layer.bias.x",
                                 q + "lora_A.bias",
                                 q + "modules_to_save.weight",
                                 q + "lora_embedding_A",
                                 q + "token_adapter.trainable_tokens_delta",
                                 kStem + std::string("0.bias"),
                                 std::string("base_model.model.lm_head"),
                                 std::string("base_model.model.lm_head.bias.weight"),
                                 std::string("base_model.model.embed_tokens.weight"),
                                 q + "token_adapter.base_layer.weight",
                                 q + "lora_A.a.b.weight",
                                 q + "lora_A.weights",
                                 kStem + std::string("0.mlp.q_proj.lora_A.weight"),
                                 kStem + std::string("0.self_attn.up_proj.lora_A.weight"),
                                 kStem + std::string("0.q_proj.lora_A.weight"),
                                 kStem + std::string("0.self_attn.x_proj.lora_A.weight")}) {
    EXPECT_THAT(Error(key), StartsWith("unexpected name")) << key;
  }
}

TEST(ParseTensorKey, SpellingsOfOnePart) {
  const std::string q = kStem + std::string("0.self_attn.q_proj.");
  const std::string embedding = "base_model.model.model.embed_tokens.", head = "base_model.model.lm_head.";
  const std::vector<std::pair<std::string, std::string_view>> cases = {
      {q + "bias", kBiasPart},
      {q + "base_layer.bias", kBiasPart},
      {q + "lora_B.bias", "lora_B.bias"},
      {q + "lora_magnitude_vector", "lora_magnitude_vector"},
      {q + "lora_velora_embed", kVeloraPart},
      {q + "lora_magnitude_vector.weight", "lora_magnitude_vector"},
      {embedding + "weight", kWeightPart},
      {embedding + "base_layer.weight", kBaseLayerPart},
      {embedding + "lora_embedding_A", "lora_embedding_A"},
      {embedding + "lora_embedding_B", "lora_embedding_B"},
      {embedding + "token_adapter.trainable_tokens_delta", kTrainedTokensPart},
      {embedding + "token_adapter.base_layer.weight", kBaseLayerPart},
      {head + "modules_to_save.weight", kWeightPart},
      {head + "original_module.weight", kOriginalPart},
      {head + "lora_A.weight", "lora_A"},
  };
  for (const auto& [name, part] : cases) {
    const auto key = ParseTensorKey(name, 4);
    ASSERT_TRUE(key.ok()) << name << ": " << key.status();
    EXPECT_EQ(key->part, part) << name;
    EXPECT_EQ(key->layer, 0) << name;
    const bool at_end = name.starts_with(embedding) || name.starts_with(head);
    EXPECT_EQ(key->projection, !at_end                       ? Projection::kQ
                               : name.starts_with(embedding) ? Projection::kEmbedding
                                                             : Projection::kHead);
    EXPECT_EQ(key->path, !at_end                       ? "model.layers.0.self_attn.q_proj"
                         : name.starts_with(embedding) ? "model.embed_tokens"
                                                       : "lm_head");
  }
}

TEST(ParseTensorKey, ForeignThingsAreNamed) {
  const std::string q = kStem + std::string("0.self_attn.q_proj.");
  const std::vector<std::pair<std::string, const char*>> cases = {
      {"base_model.internal_xlora_classifier.layers.0.weight", "X-LoRA adapters are not supported"},
      {kStem + std::string("0.mlp.shared_LoRA_A_gate.weight"), "MLLM-HydraLoRA adapters are not supported"},
      {kStem + std::string("0.mlp.moe_gate.0.LoRA_B.weight"), "MLLM-HydraLoRA adapters are not supported"},
      {kStem + std::string("0.moa_router.weight"),
       "is the router of an MoA, but adapter_config.json has another peft_type"},
      {"mixlora.layers.0.mlp.moe_gate.weight", "MixLoRA adapters are not supported"},
      {"mola.layers.0.mlp.up_proj.moe_gate.weight",
       "is of MoLA, but the peft_type of adapter_config.json is not MOLA"},
      {q + "lora_gating.weight", "is of AdaMoLE or MoLE, but the peft_type of adapter_config.json is not"},
      {q + "lora_threshold.weight", "is of AdaMoLE, but the peft_type of adapter_config.json is not ADAMOLE"},
      {q + "lora_A.loraA.0.mlp.weight", "MOELoRA adapters are not supported"},
      {kStem + std::string("0.input_layernorm.weight"), "trained norms are not supported"},
      {q + "base_layer.weight",
       "weights of the base model are not supported, but those of embed_tokens and lm_head"},
      {q + "original_module.weight", "weights of the base model are not supported"},
  };
  for (const auto& [key, error] : cases) EXPECT_EQ(Error(key), error) << key;
  for (const char* part : {"lora_magnitude_vector.default.weight", "lora_embedding_A.default"}) {
    EXPECT_THAT(Error(q + part), StartsWith("holds the adapter's name")) << part;
  }
  EXPECT_EQ(Error(q + "lora_diag"), "KaSA is not supported");
}

TEST(IsOfAnotherModule, IsALoraOfNoneOfTheModels) {
  const std::string layer = kStem;
  EXPECT_TRUE(IsOfAnotherModule(layer + "4.self_attn.q_proj.lora_A.weight", 4));
  EXPECT_TRUE(IsOfAnotherModule(layer + "0.block_sparse_moe.gate.lora_B.weight", 4));
  EXPECT_FALSE(IsOfAnotherModule(layer + "3.self_attn.q_proj.lora_A.weight", 4));
  EXPECT_FALSE(IsOfAnotherModule(layer + "3.self_attn.q_proj.lora_C.weight", 4));
  EXPECT_FALSE(IsOfAnotherModule(layer + "4.self_attn.q_proj.weight", 4));
  EXPECT_FALSE(IsOfAnotherModule("mixlora.layers.0.mlp.gate_proj.experts.0.lora_A.weight", 4));
}

}  // namespace
}  // namespace hydrad
