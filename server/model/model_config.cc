#include "server/model/model_config.h"

#include <fmt/core.h>
#include <algorithm>
#include <array>
#include <memory>
#include <nlohmann/json.hpp>

#include "server/base/file.h"
#include "server/base/foreign_content.h"
#include "server/base/invalid_argument.h"
#include "server/base/log.h"
#include "server/base/status_macros.h"
#include "server/model/config_fields.h"
#include "server/model/model_directory.h"
#include "server/model/rope_config.h"

namespace hydrad {
namespace {

using Json = nlohmann::json;

// Bounds that keep every product of two sizes within an int.
constexpr int kMaxWidth = 1 << 17, kMaxVocab = 1 << 20, kMaxLayers = 1024, kMaxPositions = 1 << 24;

// What transformers takes where a file has no such field.
int DefaultKvHeads(const ModelConfig& c) {
  if (c.model_type == "mistral") return 8;
  return c.model_type == "llama" ? c.num_heads : 32;
}

void ReadHeads(ConfigFields& f, ModelConfig& c) {
  c.num_heads = f.Int("num_attention_heads", 1, 1024);
  const int kv_heads = f.Given("num_key_value_heads") ? c.num_heads : DefaultKvHeads(c);
  c.num_kv_heads = f.IntOr("num_key_value_heads", 1, 1024, kv_heads);
  if (!f.status().ok()) return;
  if (c.num_heads % c.num_kv_heads != 0)
    f.Fail("num_attention_heads", "is no multiple of num_key_value_heads");
  const bool derived = c.model_type != "qwen3";  // whose heads have a size of their own
  if (derived && !f.Has("head_dim") && c.hidden_size % c.num_heads != 0) {
    f.Fail("hidden_size", "is no multiple of num_attention_heads");
  }
  if (!derived && f.Given("head_dim") && !f.Has("head_dim")) f.Fail("head_dim", "is null");
  c.head_dim = f.IntOr("head_dim", 2, 1024, derived ? c.hidden_size / c.num_heads : 128);
  if (c.head_dim % 2 != 0) f.Fail("head_dim", "is odd");
  if (c.num_heads * c.head_dim > kMaxWidth) f.Fail("head_dim", "makes the heads too wide together");
}

void ReadSizes(ConfigFields& f, ModelConfig& c) {
  c.hidden_size = f.Int("hidden_size", 1, kMaxWidth);
  c.num_layers = f.Int("num_hidden_layers", 1, kMaxLayers);
  c.ffn_size = f.Int("intermediate_size", 1, kMaxWidth);
  c.vocab_size = f.Int("vocab_size", 1, kMaxVocab);
  c.max_positions = f.Int("max_position_embeddings", 1, kMaxPositions);
  c.norm_eps = static_cast<float>(f.PositiveOr("rms_norm_eps", 1, 1e-6));
  ReadHeads(f, c);
}

// What sets the families apart; everything else is one network.
void ReadFamily(ConfigFields& f, ModelConfig& c) {
  c.model_type = f.StringOr("model_type", "");
  const bool llama = c.model_type == "llama", qwen2 = c.model_type == "qwen2",
             qwen3 = c.model_type == "qwen3";
  if (!llama && !qwen2 && !qwen3 && c.model_type != "mistral") {
    f.Fail("model_type", fmt::format("'{}' is not llama, mistral, qwen2 or qwen3", c.model_type));
  }
  const bool attention_bias = (llama || qwen3) && f.BoolOr("attention_bias", false);
  c.qkv_bias = qwen2 || attention_bias;
  c.o_bias = attention_bias;
  c.mlp_bias = llama && f.BoolOr("mlp_bias", false);
  c.qk_norm = qwen3;
  c.tied_embeddings = f.BoolOr("tie_word_embeddings", false);
}

// Fields that change what a network computes, from derivatives of these families and from what quantises
// them. transformers reads over most of them for our model types, but whoever wrote them meant them.
constexpr std::array kRefused = {
    "add_cross_attention",
    "alibi",
    "attention_chunk_size",
    "attention_logit_softcapping",
    "attention_multiplier",
    "attn_logit_softcapping",
    "clip_qkv",
    "compression_config",
    "dim_model_base",
    "embedding_multiplier",
    "final_logit_softcapping",
    "is_encoder_decoder",
    "kv_sharing_modes",
    "lm_head_multiplier",
    "logit_scale",
    "logits_scaling",
    "n_routed_experts",
    "no_rope_layer_interval",
    "no_rope_layers",
    "num_experts",
    "num_kv_shared_layers",
    "num_local_experts",
    "per_layer_config",
    "pruned_heads",
    "qk_layernorm",
    "quantization",
    "quantization_config",
    "query_pre_attn_scalar",
    "residual_multiplier",
    "rope_interleave",
    "rope_interleaved",
    "rope_local_base_freq",
    "scale_depth",
    "scale_emb",
    "use_alibi",
    "use_bidirectional_attention",
    "use_parallel_residual",
    "use_qk_norm",
};

// Whether a value says no more than its absence would: for a factor, 1 does not either.
bool IsNeutral(const Json& value) {
  if (value.is_number()) return value == 0 || value == 1;
  if (value.is_boolean()) return !value.get<bool>();
  return value.empty() || value == "";  // null, [] and {} are empty
}

void RefuseUnsupported(ConfigFields& f) {
  const std::string activation = f.StringOr("hidden_act", "silu");
  if (activation != "silu" && activation != "swish") {
    f.Fail("hidden_act", fmt::format("'{}' is not silu", activation));
  }
  if (!f.BoolOr("is_causal", true)) f.Fail("is_causal", "false is not supported");
  if (f.PositiveOr("partial_rotary_factor", 1, 1) != 1)
    f.Fail("partial_rotary_factor", "other than 1 is not supported");
  for (const char* name : kRefused) {
    if (!f.Has(name) || IsNeutral(f[name])) continue;
    const bool quantised = std::string_view(name).starts_with("quantization");
    f.Fail(name, quantised ? "is not supported: weights must be bf16, f16 or f32" : "is not supported");
  }
}

// Whether some layer is said to see only a window; false, too, where layer_types is absent.
bool NamesAWindow(ConfigFields& f, const ModelConfig& c) {
  if (!f.Has("layer_types")) return false;
  const Json& types = f["layer_types"];
  if (!types.is_array() || types.size() != static_cast<size_t>(c.num_layers)) {
    return f.Fail("layer_types", "is not a list with a type for each of the layers"), false;
  }
  for (const Json& type : types) {
    if (type == "full_attention" || type == "attention" || type == "sliding_attention") continue;
    f.Fail("layer_types", fmt::format("{} is not full_attention or sliding_attention", type.dump()));
  }
  return std::ranges::find(types, "sliding_attention") != types.end();
}

// Mistral's window holds for every layer. Qwen's is on only with use_sliding_window, for the layers that
// layer_types names or else for those from max_window_layers on. A llama has none but where the file gives
// one: then it is what the cache of transformers keeps.
void ReadWindow(ConfigFields& f, ModelConfig& c) {
  const bool qwen = c.model_type == "qwen2" || c.model_type == "qwen3", mistral = c.model_type == "mistral";
  const bool given = f.Given("sliding_window") || c.model_type == "llama";
  int window = f.IntOr("sliding_window", 1, kMaxPositions, given ? 0 : 4096);
  if (qwen && !f.BoolOr("use_sliding_window", false)) window = 0;
  const bool named = NamesAWindow(f, c);
  if (named && window == 0) f.Fail("layer_types", "has sliding_attention, but there is no sliding_window");
  bool active = mistral || named || !f.Has("layer_types");
  if (qwen && !f.Has("layer_types")) {
    active = f.IntOr("max_window_layers", 0, kMaxLayers, 28) < c.num_layers;
  }
  if (active && window < c.max_positions) c.sliding_window = window;
}

// eos_token_id is a number, a list or absent; then `eos` stays as it is.
absl::Status ReadEos(const std::string& file, const Json& object, std::vector<int32_t>& eos) {
  if (!object.contains("eos_token_id") || object["eos_token_id"].is_null()) return absl::OkStatus();
  eos.clear();
  const Json& value = object["eos_token_id"];
  for (const Json& id : value.is_array() ? value : Json::array({value})) {
    if (!id.is_number_integer() || id.get<int64_t>() < 0 || id.get<int64_t>() > kMaxVocab) {
      return InvalidArgument("{}: eos_token_id is not a token id or a list of them", file);
    }
    const int32_t token = id.get<int32_t>();
    if (std::find(eos.begin(), eos.end(), token) == eos.end()) eos.push_back(token);
  }
  return absl::OkStatus();
}

absl::StatusOr<Json> ParseObject(const std::string& file, std::string_view text) {
  if (const std::string_view foreign = ForeignContent(text); !foreign.empty()) {
    return InvalidArgument("{} {}", file, foreign);
  }
  Json object = Json::parse(text.begin(), text.end(), nullptr, /*allow_exceptions=*/false);
  if (!object.is_object()) return InvalidArgument("{}: not a JSON object", file);
  return object;
}

}  // namespace

absl::StatusOr<ModelConfig> ParseModelConfig(std::string_view json) {
  ASSIGN_OR_RETURN(const Json object, ParseObject("config.json", json));
  ConfigFields fields("config.json", object);
  ModelConfig config;
  if (fields.Has("_name_or_path") && fields["_name_or_path"].is_string()) {
    config.name = fields["_name_or_path"].get<std::string>();
  }
  ReadFamily(fields, config);
  RefuseUnsupported(fields);
  ReadSizes(fields, config);
  ReadWindow(fields, config);
  RETURN_IF_ERROR(fields.status());
  RETURN_IF_ERROR(ReadRope(fields, config));
  RETURN_IF_ERROR(ReadEos("config.json", object, config.eos_tokens));
  return config;
}

absl::StatusOr<ModelConfig> LoadModelConfig(const std::string& dir) {
  const absl::StatusOr<std::string> text = ReadFile(dir + "/config.json");
  if (!text.ok()) return ExplainModelDirectory(text.status(), dir);
  absl::StatusOr<ModelConfig> config = ParseModelConfig(*text);
  if (!config.ok()) return Annotate(config.status(), dir);
  if (config->tied_embeddings) {
    ASSIGN_OR_RETURN(const bool own, HasHeadOfItsOwn(dir, *config));
    if (own) {
      Log()->warn("{}: lm_head.weight is not the embedding, although config.json ties them; it is used", dir);
    }
    config->tied_embeddings = !own;
  }
  const absl::StatusOr<std::string> generation = ReadFile(dir + "/generation_config.json");
  if (absl::IsNotFound(generation.status())) return config;
  RETURN_IF_ERROR(generation.status());
  ASSIGN_OR_RETURN(const Json object, ParseObject(dir + "/generation_config.json", *generation));
  RETURN_IF_ERROR(ReadEos(dir + "/generation_config.json", object, config->eos_tokens));
  return config;
}

}  // namespace hydrad
