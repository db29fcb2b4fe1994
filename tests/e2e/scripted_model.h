// A model that writes what it is told: each token is followed by one certain other.
#ifndef HYDRAD_TESTS_E2E_SCRIPTED_MODEL_H_
#define HYDRAD_TESTS_E2E_SCRIPTED_MODEL_H_

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/model/model_files.h"

namespace hydrad {

// Writes a model of one layer whose projections are zero: the stream is the last token's embedding, a unit
// vector, and lm_head turns it to the token that `next` has for it, or `end` for one without.
inline void WriteScriptedModel(const TempDir& dir, const nlohmann::json& tokenizer,
                               const std::map<int32_t, int32_t>& next, int vocab, int end) {
  const int hidden = (vocab + 63) / 64 * 64, kv = 32, ffn = 64;
  nlohmann::json config = {{"architectures", {"LlamaForCausalLM"}},
                           {"model_type", "llama"},
                           {"num_hidden_layers", 1},
                           {"num_key_value_heads", 1},
                           {"head_dim", kv},
                           {"rms_norm_eps", 1e-5},
                           {"rope_theta", 10000.0},
                           {"hidden_act", "silu"},
                           {"tie_word_embeddings", false},
                           {"max_position_embeddings", 128}};
  config.update({{"hidden_size", hidden},
                 {"intermediate_size", ffn},
                 {"num_attention_heads", hidden / kv},
                 {"vocab_size", vocab},
                 {"eos_token_id", end},
                 {"bos_token_id", 1}});

  const auto matrix = [](int64_t rows, int64_t columns) {
    return std::vector<float>(static_cast<size_t>(rows * columns), 0.0f);
  };
  std::vector<float> embedding = matrix(vocab, hidden), head = matrix(vocab, hidden);
  for (int token = 0; token < vocab; ++token) {
    embedding[static_cast<size_t>(token) * hidden + token] = 1;
    const auto follows = next.find(token);
    head[static_cast<size_t>(follows == next.end() ? end : follows->second) * hidden + token] = 1;
  }
  TensorFiles tensors;
  const auto add = [&tensors](const std::string& name, std::vector<int64_t> shape,
                              const std::vector<float>& values) {
    tensors[name] = {
        "F32", std::move(shape), {reinterpret_cast<const char*>(values.data()), values.size() * 4}};
  };
  const std::string layer = "model.layers.0.";
  const std::vector<float> ones(static_cast<size_t>(hidden), 1.0f);
  add("model.embed_tokens.weight", {vocab, hidden}, embedding);
  add("lm_head.weight", {vocab, hidden}, head);
  for (const std::string& norm :
       {std::string("model.norm"), layer + "input_layernorm", layer + "post_attention_layernorm"}) {
    add(norm + ".weight", {hidden}, ones);
  }
  const std::map<std::string, std::pair<int, int>> zeros = {
      {"self_attn.q_proj", {hidden, hidden}}, {"self_attn.k_proj", {kv, hidden}},
      {"self_attn.v_proj", {kv, hidden}},     {"self_attn.o_proj", {hidden, hidden}},
      {"mlp.gate_proj", {ffn, hidden}},       {"mlp.up_proj", {ffn, hidden}},
      {"mlp.down_proj", {hidden, ffn}}};
  for (const auto& [name, shape] : zeros) {
    add(layer + name + ".weight", {shape.first, shape.second}, matrix(shape.first, shape.second));
  }
  WriteTensors(dir.path() + "/model.safetensors", tensors);
  dir.Write("config.json", config.dump());
  dir.Write("tokenizer.json", tokenizer.dump());
}

}  // namespace hydrad

#endif  // HYDRAD_TESTS_E2E_SCRIPTED_MODEL_H_
