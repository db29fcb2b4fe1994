// A base model's config.json: Llama 2/3, TinyLlama, SmolLM2, Mistral, Qwen2/2.5, Qwen3.
#ifndef HYDRAD_SERVER_MODEL_MODEL_CONFIG_H_
#define HYDRAD_SERVER_MODEL_MODEL_CONFIG_H_

#include <absl/status/statusor.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "server/backend/adapter_weights.h"  // AdapterShape

namespace hydrad {

// Values as in Hugging Face's config.json of the same names.
struct ModelConfig {
  std::string name;        // _name_or_path, "" where there is none
  std::string model_type;  // "llama", "mistral", "qwen2", "qwen3"
  int hidden_size = 0;
  int num_layers = 0;
  int num_heads = 0;
  int num_kv_heads = 0;
  int head_dim = 0;
  int ffn_size = 0;  // intermediate_size
  int vocab_size = 0;
  int max_positions = 0;  // max_position_embeddings
  float norm_eps = 1e-5f;
  bool tied_embeddings = false;
  bool qkv_bias = false;
  bool o_bias = false;
  bool mlp_bias = false;
  bool qk_norm = false;  // RMSNorm over each head of q and k before RoPE (Qwen3)

  // Positions that a layer with sliding-window attention can see; 0: every layer sees all. Such a model is
  // served only up to this context, where the window hides nothing and full attention computes the same.
  int sliding_window = 0;

  struct Rope {
    enum class Scaling { kNone, kLinear, kLlama3 } scaling = Scaling::kNone;
    double theta = 10000;
    double factor = 1;
    double low_freq_factor = 1, high_freq_factor = 4;  // llama3
    double original_max_positions = 8192;              // llama3
  } rope;

  // Of generation_config.json, or of config.json where that has none.
  std::vector<int32_t> eos_tokens;

  AdapterShape adapter_shape() const {
    return {num_layers, hidden_size, num_heads * head_dim, num_kv_heads * head_dim,
            ffn_size,   vocab_size,  tied_embeddings};
  }
};

// Reads the text of a config.json, in the spelling of transformers 4 (`rope_theta`, `rope_scaling`) or 5
// (`rope_parameters`). A field that is absent means what it means in transformers. INVALID_ARGUMENT names the
// file and the field: unsupported model_type, RoPE, activation, quantisation or layer_types, sizes missing,
// out of range or at odds with each other, and whatever derivatives of these families use to compute
// something else (logit_scale, num_experts, ...). Other fields are read over.
absl::StatusOr<ModelConfig> ParseModelConfig(std::string_view json);
// Reads `dir`/config.json and, where present, the end tokens of `dir`/generation_config.json. Where the
// config ties lm_head to the embedding but the weights have another lm_head, that counts, as in transformers:
// the weights are looked at for that, with the errors of Checkpoint::Open but NOT_FOUND. NOT_FOUND without a
// config.json; INVALID_ARGUMENT where something else is there that says what `dir` is.
absl::StatusOr<ModelConfig> LoadModelConfig(const std::string& dir);

// [head_dim / 2] radians per position, with the config's scaling applied: theta^(-2i / head_dim), divided by
// the factor (linear, arXiv 2306.15595) or divided for the long wavelengths only (llama3, arXiv 2407.21783).
std::vector<double> InverseFrequencies(const ModelConfig& config);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_MODEL_MODEL_CONFIG_H_
