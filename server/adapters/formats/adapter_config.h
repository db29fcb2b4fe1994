// adapter_config.json: what PEFT and the codes of routed adapters say about an adapter beside its tensors.
#ifndef HYDRAD_SERVER_ADAPTERS_FORMATS_ADAPTER_CONFIG_H_
#define HYDRAD_SERVER_ADAPTERS_FORMATS_ADAPTER_CONFIG_H_

#include <absl/status/statusor.h>

#include <optional>
#include <string>
#include <string_view>

#include "kernels/lora.h"
#include "server/adapters/formats/moa_config.h"
#include "server/adapters/formats/pattern_table.h"
#include "server/adapters/formats/routed_names.h"
#include "server/adapters/formats/target_modules.h"
#include "server/adapters/formats/token_fields.h"

namespace hydrad {

// The fields that change what an adapter computes. Fields that only steered its training are passed over.
struct AdapterConfig {
  int rank = 0;         // r
  double alpha = 0;     // lora_alpha
  bool rslora = false;  // scale is alpha / sqrt(r) instead of alpha / r
  PatternTable rank_pattern, alpha_pattern;
  bool lora_bias = false;  // every lora_B has a bias
  bool dora = false;       // use_dora: every module has magnitudes
  TokenFields tokens;
  int heads = 0;  // experts of a module: lora_nums, num_experts; 0: plain LoRA
  // With heads: how the router's outputs become gates, and what the tensors are called.
  LoraGate gate{};
  TensorNames names = TensorNames::kPeft;
  const char* family = nullptr;  // "mola", ...; null: told by the tensors
  std::optional<MoaConfig> moa;  // of an MoA, whose experts have ranks and alphas of their own
  TargetModules targets;
  std::string base_model;  // base_model_name_or_path: what it was trained on; "" where that is not told

  // The rank and the scale of the module `path` ("model.layers.0.self_attn.q_proj"), with the patterns
  // applied.
  absl::StatusOr<int> RankOf(std::string_view path) const;
  absl::StatusOr<float> ScaleOf(std::string_view path) const;
};

// INVALID_ARGUMENT that names the field and the reason. Refused, because a plain low-rank product would be a
// wrong answer in silence: other families by their peft_type; QALoRA, BdLoRA, KaSA, Arrow, MonteCLoRA;
// replicated layers; fan_in_fan_out; LoRA on bare parameters; whole modules but embed_tokens and lm_head;
// what PEFT does not do together (DoRA, lora_bias, aLoRA, VeLoRA, MiCA); an init that changed the base's
// weights (PiSSA, OLoRA, CorDA, LoftQ, LoRA-GA) and was not converted back when it was saved. An unknown
// field is refused if it is `true`, a list or an object with something in it: that is how PEFT switches
// features on.
absl::StatusOr<AdapterConfig> ParseAdapterConfig(std::string_view json);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_ADAPTERS_FORMATS_ADAPTER_CONFIG_H_
