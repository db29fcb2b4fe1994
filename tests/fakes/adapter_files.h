// Adapters as files, made up in memory: what tests load, and break first.
#ifndef HYDRAD_TESTS_FAKES_ADAPTER_FILES_H_
#define HYDRAD_TESTS_FAKES_ADAPTER_FILES_H_

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "server/backend/backend.h"  // AdapterShape
#include "server/base/json.h"
#include "server/model/model_config.h"

namespace hydrad {

// One tensor as a safetensors file holds it.
struct FakeTensor {
  std::string dtype;
  std::vector<int64_t> shape;
  std::string bytes;
};

// An F32, BF16 or F16 tensor of small values that follow from `seed`.
FakeTensor MakeTensor(const std::string& dtype, std::vector<int64_t> shape, uint32_t seed);

// A directory's worth of adapter.
struct AdapterFiles {
  Json config;
  std::map<std::string, FakeTensor> tensors;
  std::map<std::string, std::string> extra;  // more files, or other bytes for one of the two

  // "adapter_config.json" and "adapter_model.safetensors" by name, and `extra`.
  std::map<std::string, std::string> Bytes() const;
};

// A base model of 2 layers: hidden 8, 2 heads of 6 (q 12), one kv head (kv 6), ffn 10, 11 tokens, lm_head of
// its own, no biases.
ModelConfig TinyModel();

inline constexpr char kPrefix[] = "base_model.model.model.layers.";

// LoRA of rank 2 with alpha 8 on q_proj and down_proj of every layer of TinyModel. Different seeds: different
// values.
AdapterFiles PlainLora(uint32_t seed = 1, const std::string& dtype = "F32");
// HydraLoRA with 3 heads of rank 2 and alpha 8, on the same projections; or LoRAMoE, where each has its own
// A.
AdapterFiles Hydra(uint32_t seed = 1, bool shared_a = true);
// MoA of experts "poems" (rank 2) and "sums" (rank 3) with alpha 6, on the same projections; routers with a
// bias on the last token, decision "vote".
AdapterFiles Moa(uint32_t seed = 1);
// The same of other experts, all of rank 2: each name with the seed of its values, whatever its neighbours.
AdapterFiles MoaOf(const std::vector<std::pair<std::string, uint32_t>>& experts, uint32_t router_seed = 1);
// Puts the row of `expert` of every layer's router, and with `bias` its bias, into its own directory's files.
void AddRouterRows(AdapterFiles* files, uint32_t seed, bool bias = true);

// As MoE-PEFT writes its "MOLA" (keeping 2) and "LORAMOE": 3 experts of rank 2 and alpha 8 on the same
// projections.
AdapterFiles MoePeft(const std::string& type);
// As AdaMoLE's code writes it, with max_threshold 0.5; otherwise the same.
AdapterFiles AdaMole();

// The bytes of a safetensors file.
std::string SafetensorsBytes(const std::map<std::string, FakeTensor>& tensors);

}  // namespace hydrad

#endif  // HYDRAD_TESTS_FAKES_ADAPTER_FILES_H_
