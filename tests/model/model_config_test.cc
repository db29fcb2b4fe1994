#include "server/model/model_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <numbers>

namespace hydrad {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Json = nlohmann::json;

Json Base(const std::string& type) {
  return {{"model_type", type},       {"hidden_size", 64},           {"num_hidden_layers", 2},
          {"num_attention_heads", 8}, {"num_key_value_heads", 4},    {"intermediate_size", 172},
          {"vocab_size", 512},        {"rms_norm_eps", 1e-5},        {"rope_theta", 10000.0},
          {"hidden_act", "silu"},     {"tie_word_embeddings", true}, {"max_position_embeddings", 512}};
}

ModelConfig Parse(const Json& json) {
  const auto config = ParseModelConfig(json.dump());
  EXPECT_TRUE(config.ok()) << config.status();
  return config.ok() ? *config : ModelConfig{};
}

Json With(Json json, const std::string& field, const Json& value) {
  json[field] = value;
  return json;
}

TEST(Config, ReadsTheSizes) {
  const ModelConfig c = Parse(Base("llama"));
  EXPECT_EQ(c.hidden_size, 64);
  EXPECT_EQ(c.num_layers, 2);
  EXPECT_EQ(c.num_heads, 8);
  EXPECT_EQ(c.num_kv_heads, 4);
  EXPECT_EQ(c.head_dim, 8);
  EXPECT_EQ(c.ffn_size, 172);
  EXPECT_EQ(c.vocab_size, 512);
  EXPECT_EQ(c.max_positions, 512);
  EXPECT_FLOAT_EQ(c.norm_eps, 1e-5f);
  EXPECT_TRUE(c.tied_embeddings);
  EXPECT_EQ(c.adapter_shape().kv_out, 32);
}

TEST(Config, KnowsWhatSetsTheFamiliesApart) {
  const ModelConfig llama = Parse(Base("llama"));
  EXPECT_FALSE(llama.qkv_bias || llama.o_bias || llama.mlp_bias || llama.qk_norm);
  const ModelConfig biased = Parse(With(With(Base("llama"), "attention_bias", true), "mlp_bias", true));
  EXPECT_TRUE(biased.qkv_bias && biased.o_bias && biased.mlp_bias);
  const ModelConfig mistral = Parse(With(Base("mistral"), "attention_bias", true));
  EXPECT_FALSE(mistral.qkv_bias);
  const ModelConfig qwen2 = Parse(Base("qwen2"));
  EXPECT_TRUE(qwen2.qkv_bias);
  EXPECT_FALSE(qwen2.o_bias || qwen2.mlp_bias || qwen2.qk_norm);
  const ModelConfig qwen3 = Parse(With(Base("qwen3"), "head_dim", 16));
  EXPECT_TRUE(qwen3.qk_norm);
  EXPECT_FALSE(qwen3.qkv_bias);
  EXPECT_EQ(qwen3.head_dim, 16);
}

TEST(Config, FillsInWhatMayBeAbsentOrNull) {
  Json json = Base("llama");
  for (const char* field :
       {"num_key_value_heads", "rms_norm_eps", "rope_theta", "hidden_act", "tie_word_embeddings"}) {
    json.erase(field);
  }
  json["head_dim"] = nullptr;
  json["rope_scaling"] = nullptr;
  const ModelConfig c = Parse(json);
  EXPECT_EQ(c.num_kv_heads, 8);
  EXPECT_EQ(c.head_dim, 8);
  EXPECT_FLOAT_EQ(c.norm_eps, 1e-6f);
  EXPECT_EQ(c.rope.theta, 10000);
  EXPECT_FALSE(c.tied_embeddings);
}

TEST(Config, RefusesABadFieldByName) {
  const struct {
    const char* field;
    Json value;
  } kCases[] = {
      {"model_type", "gpt2"},
      {"model_type", nullptr},
      {"model_type", 3},
      {"hidden_act", "gelu"},
      {"quantization_config", {{"bits", 4}}},
      {"partial_rotary_factor", 0.5},
      {"hidden_size", nullptr},
      {"hidden_size", "64"},
      {"hidden_size", 0},
      {"hidden_size", -64},
      {"hidden_size", 1e9},
      {"hidden_size", 1ull << 63},
      {"hidden_size", 60},
      {"num_hidden_layers", 100000},
      {"num_attention_heads", 6},
      {"head_dim", 7},
      {"head_dim", 0},
      {"intermediate_size", 1 << 30},
      {"vocab_size", 0},
      {"max_position_embeddings", nullptr},
      {"rms_norm_eps", -1},
      {"rms_norm_eps", "small"},
      {"rope_theta", 0},
      {"rope_scaling", "linear"},
      {"tie_word_embeddings", 1},
      {"eos_token_id", "</s>"},
      {"eos_token_id", {1, -2}},
  };
  for (const auto& test : kCases) {
    const auto config = ParseModelConfig(With(Base("llama"), test.field, test.value).dump());
    EXPECT_EQ(config.status().code(), absl::StatusCode::kInvalidArgument) << test.field << " " << test.value;
    EXPECT_THAT(std::string(config.status().message()), HasSubstr("config.json: ")) << test.field;
    EXPECT_THAT(std::string(config.status().message()), HasSubstr(test.field)) << test.value;
  }
}

TEST(Config, RefusesTextThatIsNoObject) {
  for (const char* text : {"", "[]", "{", "3", "{\"a\":}"}) EXPECT_FALSE(ParseModelConfig(text).ok()) << text;
}

TEST(Config, ReadsRopeScalingInEverySpelling) {
  using Scaling = ModelConfig::Rope::Scaling;
  EXPECT_EQ(Parse(With(Base("llama"), "rope_scaling", {{"type", "linear"}, {"factor", 2.0}})).rope.scaling,
            Scaling::kLinear);
  const Json llama3 = {{"rope_type", "llama3"},
                       {"factor", 32.0},
                       {"low_freq_factor", 1.0},
                       {"high_freq_factor", 4.0},
                       {"original_max_position_embeddings", 4096}};
  const auto old_rope = Parse(With(Base("llama"), "rope_scaling", llama3)).rope;
  EXPECT_EQ(old_rope.scaling, Scaling::kLlama3);
  EXPECT_EQ(old_rope.factor, 32);
  EXPECT_EQ(old_rope.original_max_positions, 4096);
  Json version5 = Base("llama");
  version5.erase("rope_theta");
  version5["rope_parameters"] = With(llama3, "rope_theta", 500000.0);
  const auto new_rope = Parse(version5).rope;
  EXPECT_EQ(new_rope.scaling, Scaling::kLlama3);
  EXPECT_EQ(new_rope.theta, 500000);
  version5["rope_parameters"] = {{"rope_type", "default"}, {"rope_theta", 1e6}};
  EXPECT_EQ(Parse(version5).rope.theta, 1e6);
}

TEST(Config, RefusesRopeScalingItDoesNotCompute) {
  const Json kCases[] = {
      {{"type", "dynamic"}, {"factor", 2.0}},
      {{"rope_type", "yarn"}, {"factor", 4.0}},
      {{"rope_type", "longrope"}},
      {{"rope_type", "linear"}},
      {{"rope_type", "llama3"}},
      {{"rope_type", "linear"}, {"factor", -1}},
      {{"rope_type", "proportional"}, {"factor", 2.0}},
      {{"rope_type", "llama3"}, {"factor", 8.0}, {"low_freq_factor", 4.0}, {"high_freq_factor", 4.0}},
  };
  for (const Json& scaling : kCases) {
    const auto config = ParseModelConfig(With(Base("llama"), "rope_scaling", scaling).dump());
    EXPECT_FALSE(config.ok()) << scaling;
    EXPECT_THAT(std::string(config.status().message()), HasSubstr("rope_scaling.")) << scaling;
  }
}

TEST(Config, NotesASlidingWindowOnlyWhereItHidesSomething) {
  EXPECT_EQ(Parse(With(Base("mistral"), "sliding_window", 128)).sliding_window, 128);
  EXPECT_EQ(Parse(With(Base("mistral"), "sliding_window", 512)).sliding_window, 0);
  EXPECT_EQ(Parse(With(Base("mistral"), "sliding_window", nullptr)).sliding_window, 0);
  EXPECT_EQ(Parse(With(Base("qwen2"), "sliding_window", 128)).sliding_window, 0);
  const Json qwen = With(With(Base("qwen2"), "sliding_window", 128), "use_sliding_window", true);
  EXPECT_EQ(Parse(With(qwen, "max_window_layers", 1)).sliding_window, 128);
  EXPECT_EQ(Parse(With(qwen, "max_window_layers", 2)).sliding_window, 0);
}

std::string ErrorOf(const Json& json) {
  return std::string(ParseModelConfig(json.dump()).status().message());
}

// layer_types goes before max_window_layers, and both count only with a window that is in use.
TEST(Config, FollowsLayerTypes) {
  const Json full = {"full_attention", "full_attention"}, half = {"full_attention", "sliding_attention"};
  for (const char* type : {"qwen2", "qwen3"}) {
    Json qwen = Base(type);
    qwen["use_sliding_window"] = true;
    qwen["sliding_window"] = 128;
    qwen["max_window_layers"] = 0;
    EXPECT_EQ(Parse(With(qwen, "layer_types", full)).sliding_window, 0) << type;
    EXPECT_EQ(Parse(With(qwen, "layer_types", nullptr)).sliding_window, 128) << type;
    qwen["max_window_layers"] = 2;
    EXPECT_EQ(Parse(With(qwen, "layer_types", half)).sliding_window, 128) << type;
    EXPECT_EQ(Parse(With(qwen, "layer_types", {"attention", "attention"})).sliding_window, 0) << type;
    qwen["layer_types"] = half;
    EXPECT_THAT(ErrorOf(With(qwen, "use_sliding_window", false)), HasSubstr("layer_types")) << type;
    EXPECT_THAT(ErrorOf(With(qwen, "sliding_window", nullptr)), HasSubstr("layer_types")) << type;
  }
  for (const Json& bad : {Json("full_attention"), Json{"full_attention"}, Json{"full_attention", 3},
                          Json{"full_attention", "chunked_attention"}, Json{"mamba", "full_attention"}}) {
    for (const char* type : {"llama", "mistral", "qwen2", "qwen3"}) {
      EXPECT_THAT(ErrorOf(With(Base(type), "layer_types", bad)), HasSubstr("layer_types")) << type << bad;
    }
  }
  // Mistral's window is for all layers, whatever their types are.
  const Json mistral = With(Base("mistral"), "sliding_window", 128);
  EXPECT_EQ(Parse(With(mistral, "layer_types", full)).sliding_window, 128);
  const Json llama = With(Base("llama"), "sliding_window", 128);
  EXPECT_EQ(Parse(llama).sliding_window, 128);
  EXPECT_EQ(Parse(With(llama, "layer_types", full)).sliding_window, 0);
  EXPECT_EQ(Parse(With(llama, "layer_types", half)).sliding_window, 128);
}

// What transformers' classes take for a field that is not in the file; null is not the same.
TEST(Config, TakesTheDefaultsOfEachFamily) {
  const auto without = [](Json json, const char* field) {
    json.erase(field);
    return json;
  };
  Json wide = With(Base("llama"), "num_attention_heads", 32);
  EXPECT_EQ(Parse(without(wide, "num_key_value_heads")).num_kv_heads, 32);
  wide["model_type"] = "mistral";
  EXPECT_EQ(Parse(without(wide, "num_key_value_heads")).num_kv_heads, 8);
  EXPECT_EQ(Parse(With(wide, "num_key_value_heads", nullptr)).num_kv_heads, 32);
  wide["model_type"] = "qwen2";
  EXPECT_EQ(Parse(without(wide, "num_key_value_heads")).num_kv_heads, 32);

  Json longer = With(Base("mistral"), "max_position_embeddings", 8192);
  EXPECT_EQ(Parse(longer).sliding_window, 4096);
  EXPECT_EQ(Parse(With(longer, "sliding_window", nullptr)).sliding_window, 0);
  longer["model_type"] = "qwen2";
  EXPECT_EQ(Parse(longer).sliding_window, 0);
  longer["use_sliding_window"] = true;  // from layer 28 on, of which there are none
  EXPECT_EQ(Parse(longer).sliding_window, 0);
  EXPECT_EQ(Parse(With(longer, "max_window_layers", 1)).sliding_window, 4096);

  EXPECT_EQ(Parse(Base("qwen3")).head_dim, 128);
  EXPECT_THAT(ErrorOf(With(Base("qwen3"), "head_dim", nullptr)), HasSubstr("head_dim"));
}

// Every key that changes the maths, with a value that does, and what becomes of it. Those that the tests
// above follow one by one are not repeated.
TEST(Config, RefusesWhatWouldChangeTheMathsOfAnyFamily) {
  const std::pair<const char*, Json> kRefused[] = {
      {"hidden_act", "gelu_pytorch_tanh"},
      {"is_causal", false},
      {"partial_rotary_factor", 0.25},
      {"quantization_config", {{"quant_method", "awq"}}},
      {"compression_config", {{"format", "pack-quantized"}}},
      {"quantization", {{"bits", 4}, {"group_size", 64}}},
      {"per_layer_config", {{"0", {{"intermediate_size", 8}}}}},
      {"attention_chunk_size", 8192},
      {"attention_multiplier", 0.0078125},
      {"embedding_multiplier", 12.0},
      {"residual_multiplier", 0.22},
      {"logits_scaling", 8.0},
      {"logit_scale", 0.0625},
      {"lm_head_multiplier", 0.5},
      {"attn_logit_softcapping", 50.0},
      {"final_logit_softcapping", 30.0},
      {"query_pre_attn_scalar", 256},
      {"scale_emb", 12},
      {"scale_depth", 1.4},
      {"dim_model_base", 256},
      {"clip_qkv", 8.0},
      {"qk_layernorm", true},
      {"use_qk_norm", true},
      {"use_parallel_residual", true},
      {"alibi", true},
      {"no_rope_layers", {1, 0}},
      {"rope_interleave", true},
      {"rope_local_base_freq", 10000.5},
      {"num_experts", 8},
      {"num_local_experts", 8},
      {"n_routed_experts", 64},
      {"pruned_heads", {{"0", {1}}}},
      {"use_bidirectional_attention", true},
      {"is_encoder_decoder", true},
      {"add_cross_attention", true},
  };
  for (const auto& [field, value] : kRefused) {
    for (const char* type : {"llama", "mistral", "qwen2", "qwen3"}) {
      EXPECT_THAT(ErrorOf(With(Base(type), field, value)), HasSubstr(field)) << type;
    }
  }
}

// What the classes of transformers read over, do not need for a forward pass, or do with values that say
// nothing.
TEST(Config, ReadsOverWhatDoesNotMatter) {
  const std::pair<const char*, Json> kIgnored[] = {
      {"attention_dropout", 0.1},
      {"pretraining_tp", 2},
      {"initializer_range", 0.5},
      {"use_cache", false},
      {"torch_dtype", "float16"},
      {"dtype", "bfloat16"},
      {"architectures", {"LlamaForCausalLM"}},
      {"auto_map", {{"AutoModelForCausalLM", "modeling.Model"}}},
      {"bos_token_id", 1},
      {"pad_token_id", nullptr},
      {"transformers_version", "5.24.0"},
      {"chunk_size_feed_forward", 16},
      {"layer_norm_eps", 1.0},
      {"attn_implementation", "sdpa"},
      {"is_causal", true},
      {"partial_rotary_factor", 1.0},
      {"hidden_act", "swish"},
      {"quantization_config", nullptr},
      {"per_layer_config", nullptr},
      {"logit_scale", 1.0},
      {"residual_multiplier", 1},
      {"num_experts", 0},
      {"alibi", false},
      {"pruned_heads", Json::object()},
      {"max_window_layers", 0},
      {"rope_parameters", Json::object()},
      {"rope_scaling", Json::object()},
      {"original_max_position_embeddings", 4},
  };
  for (const char* type : {"llama", "mistral", "qwen2", "qwen3"}) {
    const ModelConfig plain = Parse(Base(type));
    for (const auto& [field, value] : kIgnored) {
      const ModelConfig read = Parse(With(Base(type), field, value));
      EXPECT_EQ(InverseFrequencies(read), InverseFrequencies(plain)) << type << field;
      EXPECT_EQ(read.sliding_window, plain.sliding_window) << type << field;
      EXPECT_EQ(read.norm_eps, plain.norm_eps) << type << field;
    }
    if (std::string_view(type) == "llama") continue;
    const ModelConfig biased = Parse(With(Base(type), "mlp_bias", true));  // is Llama's alone
    EXPECT_FALSE(biased.mlp_bias) << type;
  }
  EXPECT_TRUE(Parse(With(Base("qwen3"), "attention_bias", true)).o_bias);
  EXPECT_FALSE(Parse(With(Base("qwen2"), "attention_bias", true)).o_bias);
}

TEST(Config, ReadsRopeWhereTransformersReadsIt) {
  const Json linear = {{"rope_type", "linear"}, {"factor", 2.0}};
  Json both = With(Base("llama"), "rope_scaling", linear);
  both["rope_parameters"] = {{"rope_type", "default"}, {"rope_theta", 5.0}};
  EXPECT_EQ(Parse(both).rope.theta, 10000);  // that of rope_scaling counts, with the theta beside it
  EXPECT_EQ(Parse(both).rope.factor, 2);
  both["rope_scaling"] = nullptr;
  EXPECT_EQ(Parse(both).rope.theta, 5);
  EXPECT_EQ(Parse(With(Base("llama"), "rope_scaling", {{"type", "linear"}, {"factor", 0.5}})).rope.factor,
            0.5);

  Json llama3 = {
      {"rope_type", "llama3"}, {"factor", 8.0}, {"low_freq_factor", 1.0}, {"high_freq_factor", 4.0}};
  Json json = With(Base("llama"), "rope_scaling", llama3);
  EXPECT_EQ(Parse(json).rope.original_max_positions, 512);  // max_position_embeddings
  json["rope_scaling"]["original_max_position_embeddings"] = 64;
  EXPECT_EQ(Parse(json).rope.original_max_positions, 64);
  EXPECT_EQ(Parse(With(json, "original_max_position_embeddings", 32)).rope.original_max_positions, 32);
  for (const char* field : {"factor", "low_freq_factor", "high_freq_factor"}) {
    Json less = llama3;
    less.erase(field);
    EXPECT_THAT(ErrorOf(With(Base("llama"), "rope_parameters", less)), HasSubstr(field));
  }

  const Json nested = {{"full_attention", {{"rope_type", "default"}}},
                       {"sliding_attention", {{"rope_type", "linear"}, {"factor", 2}}}};
  EXPECT_THAT(ErrorOf(With(Base("qwen3"), "rope_parameters", nested)),
              HasSubstr("rope_parameters.full_attention"));
  const Json part = {{"rope_type", "default"}, {"partial_rotary_factor", 0.5}};
  EXPECT_THAT(ErrorOf(With(Base("llama"), "rope_parameters", part)),
              HasSubstr("rope_parameters.partial_rotary_factor"));
}

TEST(Config, TakesTheEndTokensOfTheGenerationConfigFirst) {
  const auto dir = std::filesystem::temp_directory_path() / "hydrad_config_test";
  std::filesystem::create_directories(dir);
  std::ofstream(dir / "config.json") << With(Base("llama"), "eos_token_id", 2);
  std::filesystem::remove(dir / "generation_config.json");
  EXPECT_THAT(LoadModelConfig(dir)->eos_tokens, ElementsAre(2));
  std::ofstream(dir / "generation_config.json") << Json{{"eos_token_id", {5, 7}}};
  EXPECT_THAT(LoadModelConfig(dir)->eos_tokens, ElementsAre(5, 7));
  std::ofstream(dir / "generation_config.json") << Json{{"temperature", 0.6}};
  EXPECT_THAT(LoadModelConfig(dir)->eos_tokens, ElementsAre(2));
  std::ofstream(dir / "generation_config.json") << "broken";
  EXPECT_THAT(std::string(LoadModelConfig(dir).status().message()), HasSubstr("generation_config.json"));
  std::filesystem::remove_all(dir);
  EXPECT_EQ(LoadModelConfig(dir).status().code(), absl::StatusCode::kNotFound);
}

TEST(Config, SaysWhatLiesInItsPlace) {
  EXPECT_THAT(
      std::string(
          ParseModelConfig("version https://git-lfs.github.com/spec/v1\noid sha256:0\n").status().message()),
      HasSubstr("git-lfs pointer"));
  EXPECT_THAT(std::string(ParseModelConfig("\n<!DOCTYPE html><html>").status().message()),
              HasSubstr("HTML page"));
}

TEST(InverseFrequencies, ArePowersOfTheta) {
  const auto plain = InverseFrequencies(Parse(Base("llama")));
  ASSERT_EQ(plain.size(), 4);
  for (int i = 0; i < 4; ++i) EXPECT_DOUBLE_EQ(plain[i], std::pow(10000.0, -i / 4.0));
  const Json scaling = {{"type", "linear"}, {"factor", 4}};
  const auto linear = InverseFrequencies(Parse(With(Base("llama"), "rope_scaling", scaling)));
  for (int i = 0; i < 4; ++i) EXPECT_DOUBLE_EQ(linear[i], plain[i] / 4);
}

// Short waves keep their frequency, long ones are stretched by the factor, those between lie between.
TEST(InverseFrequencies, Llama3StretchesLongWavesOnly) {
  Json json = With(Base("llama"), "head_dim", 128);
  const auto plain = InverseFrequencies(Parse(json));
  json["rope_scaling"] = {{"rope_type", "llama3"},
                          {"factor", 8.0},
                          {"low_freq_factor", 1.0},
                          {"high_freq_factor", 4.0},
                          {"original_max_position_embeddings", 1024}};
  const auto scaled = InverseFrequencies(Parse(json));
  int kept = 0, blended = 0, stretched = 0;
  for (size_t i = 0; i < plain.size(); ++i) {
    const double wavelength = 2 * std::numbers::pi / plain[i];
    if (wavelength < 1024 / 4.0) {
      EXPECT_DOUBLE_EQ(scaled[i], plain[i]);
      ++kept;
    } else if (wavelength > 1024) {
      EXPECT_DOUBLE_EQ(scaled[i], plain[i] / 8);
      ++stretched;
    } else {
      EXPECT_GE(scaled[i], plain[i] / 8);
      EXPECT_LE(scaled[i], plain[i]);
      ++blended;
    }
  }
  EXPECT_GT(kept, 0);
  EXPECT_GT(blended, 0);
  EXPECT_GT(stretched, 0);
}

}  // namespace
}  // namespace hydrad
