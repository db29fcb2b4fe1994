#include "server/model/tensor_table.h"

namespace hydrad {

std::vector<TensorRow> GlobalTensors(const ModelConfig& c) {
  std::vector<TensorRow> table = {
      {"model.embed_tokens.weight", WeightId::kEmbedding, c.vocab_size, c.hidden_size},
      {"model.norm.weight", WeightId::kFinalNorm, 1, c.hidden_size},
  };
  if (!c.tied_embeddings) table.push_back({"lm_head.weight", WeightId::kLmHead, c.vocab_size, c.hidden_size});
  return table;
}

std::vector<TensorRow> LayerTensors(const ModelConfig& c) {
  const int q_out = c.num_heads * c.head_dim, kv_out = c.num_kv_heads * c.head_dim;
  std::vector<TensorRow> table;
  const auto add = [&](const char* name, WeightId into, int rows, int cols, bool bias = false) {
    table.push_back({std::string("model.layers.{}.") + name, into, rows, cols, bias});
  };
  add("input_layernorm.weight", WeightId::kAttentionNorm, 1, c.hidden_size);
  add("self_attn.q_proj.weight", WeightId::kQkv, q_out, c.hidden_size);
  add("self_attn.k_proj.weight", WeightId::kQkv, kv_out, c.hidden_size);
  add("self_attn.v_proj.weight", WeightId::kQkv, kv_out, c.hidden_size);
  if (c.qkv_bias) {
    add("self_attn.q_proj.bias", WeightId::kQkv, 1, q_out, true);
    add("self_attn.k_proj.bias", WeightId::kQkv, 1, kv_out, true);
    add("self_attn.v_proj.bias", WeightId::kQkv, 1, kv_out, true);
  }
  if (c.qk_norm) {
    add("self_attn.q_norm.weight", WeightId::kQNorm, 1, c.head_dim);
    add("self_attn.k_norm.weight", WeightId::kKNorm, 1, c.head_dim);
  }
  add("self_attn.o_proj.weight", WeightId::kO, c.hidden_size, q_out);
  if (c.o_bias) add("self_attn.o_proj.bias", WeightId::kO, 1, c.hidden_size, true);
  add("post_attention_layernorm.weight", WeightId::kFfnNorm, 1, c.hidden_size);
  add("mlp.gate_proj.weight", WeightId::kGateUp, c.ffn_size, c.hidden_size);
  add("mlp.up_proj.weight", WeightId::kGateUp, c.ffn_size, c.hidden_size);
  add("mlp.down_proj.weight", WeightId::kDown, c.hidden_size, c.ffn_size);
  if (c.mlp_bias) {
    add("mlp.gate_proj.bias", WeightId::kGateUp, 1, c.ffn_size, true);
    add("mlp.up_proj.bias", WeightId::kGateUp, 1, c.ffn_size, true);
    add("mlp.down_proj.bias", WeightId::kDown, 1, c.hidden_size, true);
  }
  return table;
}

std::string TensorName(const TensorRow& row, int layer) {
  const size_t hole = row.name.find("{}");
  if (hole == std::string::npos) return row.name;
  return row.name.substr(0, hole) + std::to_string(layer) + row.name.substr(hole + 2);
}

bool MayBeLeftOver(const ModelConfig& config, std::string_view name) {
  return name.ends_with(".rotary_emb.inv_freq") || (config.tied_embeddings && name == "lm_head.weight");
}

}  // namespace hydrad
