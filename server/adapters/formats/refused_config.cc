#include "server/adapters/formats/refused_config.h"

#include <algorithm>
#include <array>
#include <string>
#include <string_view>

#include "server/adapters/formats/adapter_fields.h"
#include "server/adapters/formats/routed_config.h"
#include "server/base/invalid_argument.h"
#include "server/base/status_macros.h"

namespace hydrad {
namespace {

struct Named {
  std::string_view key;
  std::string_view text;
};

// peft_type of other families.
constexpr std::array kFamilies = {
    Named{"XLORA", "X-LoRA"},
    Named{"MIXLORA", "MixLoRA"},
    Named{"MMOELORA", "MOELoRA"},
    Named{"POLY", "Poly"},
    Named{"ADALORA", "AdaLoRA"},
    Named{"LOHA", "LoHa"},
    Named{"LOKR", "LoKr"},
    Named{"VERA", "VeRA"},
    Named{"IA3", "IA3"},
    Named{"OFT", "OFT"},
    Named{"BOFT", "BOFT"},
    Named{"PROMPT_TUNING", "prompt tuning"},
    Named{"PREFIX_TUNING", "prefix tuning"},
    Named{"P_TUNING", "p-tuning"},
};

// Fields of theirs, and those that a HydraLoRA that keeps some of its heads has here.
constexpr std::array<std::string_view, 11> kRoutedKnown = {"jitter_noise",
                                                           "lora_init",
                                                           "lora_rank",
                                                           "max_threshold",
                                                           "norm_topk_prob",
                                                           "num_experts",
                                                           "router_aux_loss_coef",
                                                           "router_loss",
                                                           "router_init_range",
                                                           "threshold",
                                                           "top_k"};

// Fields that must not be switched on, and what they are.
constexpr std::array kRefused = {
    Named{"use_qalora", "QALoRA"},
    Named{"use_bdlora", "BdLoRA"},
    Named{"kasa_config", "KaSA"},
    Named{"arrow_config", "Arrow routing"},
    Named{"monteclora_config", "MonteCLoRA"},
    Named{"layer_replication", "replicated layers"},
    Named{"fan_in_fan_out", "weights stored as [in, out]"},
    Named{"target_parameters", "LoRA on bare parameters"},
    Named{"megatron_config", "Megatron's parallel layers"},
    Named{"enable_lora", "LoRA on parts of a merged layer"},
};

// Fields that are read below, and those that say nothing about the result once the tensors are there.
constexpr std::array<std::string_view, 38> kKnown = {
    "auto_mapping",
    "base_model_name_or_path",
    "use_rslora",
    "blc_alpha",
    "blc_weight",
    "corda_config",
    "ensure_weight_tying",
    "eva_config",
    "exclude_modules",
    "inference_mode",
    "layers_pattern",
    "layers_to_transform",
    "loftq_config",
    "lora_dropout",
    "lora_ga_config",
    "megatron_core",
    "merge_weights",
    "peft_version",
    "qalora_group_size",
    "revision",
    "runtime_config",
    "target_modules",
    "task_type",
    "unsloth_fixed",
    "velora_config",
    "alora_invocation_tokens",
    "alpha_pattern",
    "bias",
    "init_lora_weights",
    "lora_alpha",
    "lora_bias",
    "lora_nums",
    "modules_to_save",
    "peft_type",
    "r",
    "rank_pattern",
    "trainable_token_indices",
    "use_dora",
};

absl::Status CheckSwitches(const Json& config) {
  for (const auto& [key, value] : config.items()) {
    if (!IsOn(value)) continue;
    if (const auto refused = std::ranges::find(kRefused, key, &Named::key); refused != kRefused.end()) {
      return InvalidArgument("field '{}': {} is not supported", key, refused->text);
    }
    const bool known = std::ranges::find(kKnown, key) != kKnown.end() ||
                       std::ranges::find(kRoutedKnown, key) != kRoutedKnown.end();
    if (!known && !value.is_number() && !value.is_string()) {
      return InvalidArgument("field '{}': is not known and switched on, so it may change the result", key);
    }
  }
  return absl::OkStatus();
}

// "none", or a kind whose trained biases stand among the tensors.
absl::Status CheckBias(const Json& config) {
  const Json& value = Field(config, "bias");
  if (value.is_null() || value == "none" || value == "all" || value == "lora_only") return absl::OkStatus();
  return BadField("bias", "must be 'none', 'all' or 'lora_only'");
}

// Inits that leave the base's weights alone, as PEFT compares them.
constexpr std::array<std::string_view, 4> kHarmlessInits = {"gaussian", "orthogonal", "eva", "mica"};

absl::Status CheckInit(const Json& config) {
  const Json& value = Field(config, "init_lora_weights");
  if (value.is_null() || value.is_boolean()) return absl::OkStatus();
  if (!value.is_string()) return BadField("init_lora_weights", "must be true, false or a string");
  std::string init = value.get<std::string>();
  std::ranges::transform(init, init.begin(), [](char c) { return c >= 'A' && c <= 'Z' ? c | 0x20 : c; });
  if (std::ranges::find(kHarmlessInits, init) != kHarmlessInits.end()) return absl::OkStatus();
  return InvalidArgument(
      "field 'init_lora_weights': '{}' may have changed the base model's weights; save the adapter with "
      "path_initial_model_for_weight_conversion",
      value.get_ref<const std::string&>());
}

}  // namespace

absl::Status CheckFamily(const Json& config) {
  const Json& value = Field(config, "peft_type");
  if (value.is_null() && (config.contains("lora_parameters") || config.contains("fine_tune_type"))) {
    return InvalidArgument(
        "is of mlx-lm, whose adapters are not supported: its tensors are transposed and have other names; "
        "convert "
        "it to PEFT's format");
  }
  if (!value.is_string()) return BadField("peft_type", "must be a string");
  const auto& type = value.get_ref<const std::string&>();
  if (type == "LORA" || type == "MOA" || FindRouted(type) != nullptr) return absl::OkStatus();
  const auto known = std::ranges::find(kFamilies, type, &Named::key);
  if (known == kFamilies.end()) return InvalidArgument("field 'peft_type': '{}' is not known", type);
  return InvalidArgument(
      "field 'peft_type': {} adapters are not supported; LoRA, HydraLoRA, LoRAMoE, MoLA, AdaMoLE, MoLE "
      "and MoA are",
      known->text);
}

absl::Status CheckFields(const Json& config) {
  RETURN_IF_ERROR(CheckSwitches(config));
  RETURN_IF_ERROR(CheckBias(config));
  return CheckInit(config);
}

}  // namespace hydrad
