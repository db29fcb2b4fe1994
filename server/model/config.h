// A base model's config.json: Llama 2/3, TinyLlama, SmolLM2, Mistral, Qwen2/2.5, Qwen3.
#ifndef HYDRAD_SERVER_MODEL_CONFIG_H_
#define HYDRAD_SERVER_MODEL_CONFIG_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "server/backend/backend.h"  // AdapterShape
#include "server/base/status.h"

namespace hydrad {

// Values as in Hugging Face's config.json of the same names.
struct ModelConfig {
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

  struct Rope {
    enum class Scaling { kNone, kLinear, kLlama3 } scaling = Scaling::kNone;
    double theta = 10000;
    double factor = 1;
    double low_freq_factor = 1, high_freq_factor = 4;  // llama3
    double original_max_positions = 8192;              // llama3
  } rope;

  std::vector<int32_t> eos_tokens;  // of config.json and generation_config.json

  AdapterShape adapter_shape() const {
    return {num_layers, hidden_size, num_heads * head_dim, num_kv_heads * head_dim, ffn_size};
  }
};

// Errors name the file and the field: unsupported model_type, RoPE or activation, sizes out of range.
absl::StatusOr<ModelConfig> ParseModelConfig(std::string_view json);
// Reads `dir`/config.json and, where present, `dir`/generation_config.json.
absl::StatusOr<ModelConfig> LoadModelConfig(const std::string& dir);

// [head_dim / 2] turns per position, with the config's scaling applied.
std::vector<double> InverseFrequencies(const ModelConfig& config);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_MODEL_CONFIG_H_
