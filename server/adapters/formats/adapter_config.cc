#include "server/adapters/formats/adapter_config.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <string>

#include "server/base/invalid_argument.h"
#include "server/base/json.h"
#include "server/base/status_macros.h"

namespace hydrad {
namespace {

constexpr int kMaxRank = 1 << 16;
constexpr int kMaxHeads = 1024;

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

// Other codes than PEFT's and HydraLoRA's whose adapters have a router per module.
struct RoutedFormat {
  std::string_view type;
  const char* family;
  TensorNames names;
  const char* rank_field;
  LoraGate gate;
};
constexpr std::array kRouted = {
    RoutedFormat{"MOLA", "mola", TensorNames::kMola, "r", {GateRule::kTopK, 2, true}},
    RoutedFormat{"LORAMOE", "loramoe", TensorNames::kLoraMoe, "r", {GateRule::kSoftmax}},
    RoutedFormat{"ADAMOLE", "adamole", TensorNames::kAdaMole, "lora_rank", {GateRule::kThreshold}},
    RoutedFormat{"MOLE", "mole", TensorNames::kAdaMole, "lora_rank", {GateRule::kTopK, 0, true}},
};
const RoutedFormat* FindRouted(const Json& type) {
  const auto found = std::ranges::find_if(kRouted, [&](const RoutedFormat& f) { return type == f.type; });
  return found == kRouted.end() ? nullptr : &*found;
}

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

// Whether a value switches a feature on.
bool IsOn(const Json& value) {
  if (value.is_boolean()) return value.get<bool>();
  if (value.is_number()) return value.get<double>() != 0;
  if (value.is_string()) return value != "";
  return !value.empty();  // null, [] and {} are empty
}

absl::Status Bad(std::string_view field, std::string_view reason) {
  return InvalidArgument("field '{}': {}", field, reason);
}

absl::Status CheckFamily(const Json& config) {
  const Json& value = Field(config, "peft_type");
  if (value.is_null() && (config.contains("lora_parameters") || config.contains("fine_tune_type"))) {
    return InvalidArgument(
        "is of mlx-lm, whose adapters are not supported: its tensors are transposed and have other names; "
        "convert "
        "it to PEFT's format");
  }
  if (!value.is_string()) return Bad("peft_type", "must be a string");
  const auto& type = value.get_ref<const std::string&>();
  if (type == "LORA" || type == "MOA" || FindRouted(type) != nullptr) return absl::OkStatus();
  const auto known = std::ranges::find(kFamilies, type, &Named::key);
  if (known == kFamilies.end()) return InvalidArgument("field 'peft_type': '{}' is not known", type);
  return InvalidArgument(
      "field 'peft_type': {} adapters are not supported; LoRA, HydraLoRA, LoRAMoE, MoLA, AdaMoLE, MoLE "
      "and MoA are",
      known->text);
}

absl::Status CheckNothingElseIsOn(const Json& config) {
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
  return Bad("bias", "must be 'none', 'all' or 'lora_only'");
}

// Inits that leave the base's weights alone, as PEFT compares them.
constexpr std::array<std::string_view, 4> kHarmlessInits = {"gaussian", "orthogonal", "eva", "mica"};

absl::Status CheckInit(const Json& config) {
  const Json& value = Field(config, "init_lora_weights");
  if (value.is_null() || value.is_boolean()) return absl::OkStatus();
  if (!value.is_string()) return Bad("init_lora_weights", "must be true, false or a string");
  std::string init = value.get<std::string>();
  std::ranges::transform(init, init.begin(), [](char c) { return c >= 'A' && c <= 'Z' ? c | 0x20 : c; });
  if (std::ranges::find(kHarmlessInits, init) != kHarmlessInits.end()) return absl::OkStatus();
  return InvalidArgument(
      "field 'init_lora_weights': '{}' may have changed the base model's weights; save the adapter with "
      "path_initial_model_for_weight_conversion",
      value.get_ref<const std::string&>());
}

absl::Status ReadInt(const Json& config, const char* field, int max, int* out) {
  const Json& value = Field(config, field);
  // Compared as double: no integer of the file wraps.
  const double number = value.is_number_integer() ? value.get<double>() : 0;
  if (!(number >= 1 && number <= max)) {
    return InvalidArgument("field '{}': must be an integer from 1 to {}", field, max);
  }
  *out = static_cast<int>(number);
  return absl::OkStatus();
}

absl::Status ReadPatterns(const Json& config, const char* field, bool ranks, PatternTable* out) {
  const Json& value = Field(config, field);
  if (value.is_null()) return absl::OkStatus();
  if (!value.is_object()) return Bad(field, "must be an object of patterns and numbers");
  std::vector<std::pair<std::string, double>> entries;
  for (const auto& [pattern, json] : value.items()) {
    const double number = json.is_number() ? json.get<double>() : std::numeric_limits<double>::quiet_NaN();
    const bool fits =
        ranks ? json.is_number_integer() && number >= 1 && number <= kMaxRank : json.is_number();
    if (!fits)
      return InvalidArgument("field '{}': '{}' is not a {}", field, pattern, ranks ? "rank" : "number");
    entries.emplace_back(pattern, number);
  }
  auto table = PatternTable::Compile(entries);
  if (!table.ok()) return Annotate(table.status(), fmt::format("field '{}'", field));
  *out = *std::move(table);
  return absl::OkStatus();
}

// top_k and norm_topk_prob of an adapter that keeps some of its experts; without top_k it keeps all.
absl::Status ReadTopK(const Json& config, AdapterConfig* out) {
  const Json& normalise = Field(config, "norm_topk_prob");
  if (!normalise.is_null() && !normalise.is_boolean()) return Bad("norm_topk_prob", "must be true or false");
  if (!Field(config, "top_k").is_null()) {
    out->gate = {GateRule::kTopK, 0, normalise != false};
    return ReadInt(config, "top_k", out->heads, &out->gate.top_k);
  }
  if (out->gate.top_k > out->heads) return Bad("top_k", "must be given where there are fewer experts than 2");
  return absl::OkStatus();
}

absl::Status ReadThreshold(const Json& config, const char* field, LoraGate* gate) {
  const Json& value = Field(config, field);
  const double threshold = value.is_number() ? value.get<double>() : -1;
  if (!(threshold >= 0 && threshold <= 1e6)) return Bad(field, "must be a number from 0");
  gate->threshold = static_cast<float>(threshold);
  return absl::OkStatus();
}

// MoLE's top_k or threshold.
absl::Status ReadMoleGate(const Json& config, AdapterConfig* out) {
  const bool fixed = !Field(config, "threshold").is_null();
  if (fixed != Field(config, "top_k").is_null())
    return Bad("top_k", "or 'threshold' must be given, not both");
  if (!fixed) return ReadTopK(config, out);
  out->gate = {GateRule::kFixedThreshold};
  return ReadThreshold(config, "threshold", &out->gate);
}

absl::Status ReadAdaMoleGate(const Json& config, AdapterConfig* out) {
  out->gate.threshold = 1.0f / static_cast<float>(out->heads);
  if (Field(config, "max_threshold").is_null()) return absl::OkStatus();
  return ReadThreshold(config, "max_threshold", &out->gate);
}

absl::Status ReadRouted(const Json& config, const RoutedFormat& format, AdapterConfig* out) {
  RETURN_IF_ERROR(ReadInt(config, "num_experts", kMaxHeads, &out->heads));
  out->gate = format.gate;
  out->names = format.names;
  out->family = format.family;
  for (const auto* patterns : {&out->rank_pattern, &out->alpha_pattern}) {
    if (!patterns->empty())
      return Bad(patterns == &out->rank_pattern ? "rank_pattern" : "alpha_pattern",
                 "is not known to this family");
  }
  if (out->rslora && format.names == TensorNames::kAdaMole)
    return Bad("use_rslora", "is not known to this family");
  if (!Field(config, "threshold").is_null() && format.family != std::string_view("mole"))
    return Bad("threshold", "is not known to this family");
  if (IsOn(Field(config, "jitter_noise"))) return Bad("jitter_noise", "would make the router random");
  const Json& strategy = Field(config, "routing_strategy");
  if (!strategy.is_null() && strategy != format.family) {
    return InvalidArgument("field 'routing_strategy': must be '{}'", format.family);
  }
  if (format.gate.rule == GateRule::kThreshold) return ReadAdaMoleGate(config, out);
  if (format.gate.rule == GateRule::kSoftmax) return absl::OkStatus();
  if (format.names == TensorNames::kAdaMole) return ReadMoleGate(config, out);
  return ReadTopK(config, out);
}

absl::Status ReadHeads(const Json& config, AdapterConfig* out) {
  if (const RoutedFormat* format = FindRouted(Field(config, "peft_type")))
    return ReadRouted(config, *format, out);
  if (Field(config, "lora_nums").is_null()) return absl::OkStatus();
  RETURN_IF_ERROR(ReadInt(config, "lora_nums", kMaxHeads, &out->heads));
  const char* extra = out->rslora                       ? "use_rslora"
                      : out->lora_bias                  ? "lora_bias"
                      : out->dora                       ? "use_dora"
                      : !out->tokens.invocation.empty() ? "alora_invocation_tokens"
                      : !out->rank_pattern.empty()      ? "rank_pattern"
                      : !out->alpha_pattern.empty()     ? "alpha_pattern"
                                                        : nullptr;
  if (extra != nullptr)
    return Bad(extra, "has no meaning beside lora_nums: HydraLoRA scales by lora_alpha / r alone");
  out->gate.rule = GateRule::kSoftmax;
  return ReadTopK(config, out);
}

// Fields that would give an expert another scale or rank than those of the MoA's own lists.
absl::Status CheckMoaScales(const Json& config) {
  for (const char* field :
       {"use_rslora", "rank_pattern", "alpha_pattern", "lora_nums", "use_dora", "lora_bias",
        "alora_invocation_tokens", "modules_to_save", "trainable_token_indices"}) {
    if (IsOn(Field(config, field)))
      return Bad(field, "has no meaning in an MoA: r and lora_alpha may be lists with one number per expert");
  }
  return absl::OkStatus();
}

absl::Status ReadFlag(const Json& config, const char* field, bool* out) {
  const Json& value = Field(config, field);
  if (!value.is_null() && !value.is_boolean()) return Bad(field, "must be true or false");
  *out = value == true;
  return absl::OkStatus();
}

// PEFT has one variant of a LoRA layer at a time.
absl::Status CheckVariants(const Json& json, const AdapterConfig& config) {
  if (config.dora && config.lora_bias) return Bad("lora_bias", "does not go with use_dora");
  const std::pair<const char*, bool> variants[] = {
      {"use_dora", config.dora},
      {"alora_invocation_tokens", !config.tokens.invocation.empty()},
      {"velora_config", IsOn(Field(json, "velora_config"))},
      {"init_lora_weights", Field(json, "init_lora_weights") == "mica"},
  };
  const char* first = nullptr;
  for (const auto& [field, on] : variants) {
    if (on && first != nullptr) return InvalidArgument("field '{}': does not go with {}", field, first);
    if (on) first = field;
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<AdapterConfig> ParseAdapterConfig(std::string_view json) {
  ASSIGN_OR_RETURN(Json config, ParseJson(json));
  if (!config.is_object()) return InvalidArgument("must be a JSON object");
  RETURN_IF_ERROR(CheckFamily(config));
  AdapterConfig out;
  if (Field(config, "peft_type") == "MOA") {
    ASSIGN_OR_RETURN(out.moa, TakeMoaConfig(config));
  }
  RETURN_IF_ERROR(CheckNothingElseIsOn(config));
  RETURN_IF_ERROR(CheckBias(config));
  RETURN_IF_ERROR(CheckInit(config));
  const bool forked = IsOn(Field(config, "lora_nums"));  // which only HydraLoRA's copy of PEFT writes
  ASSIGN_OR_RETURN(out.targets, TargetModules::Parse(config, forked));
  const Json& base = Field(config, "base_model_name_or_path");
  if (base.is_string()) out.base_model = base.get<std::string>();

  if (out.moa) {
    RETURN_IF_ERROR(CheckMoaScales(config));
    return out;
  }
  const RoutedFormat* routed = FindRouted(Field(config, "peft_type"));
  RETURN_IF_ERROR(ReadInt(config, routed != nullptr ? routed->rank_field : "r", kMaxRank, &out.rank));
  const Json& alpha = Field(config, "lora_alpha");
  if (!alpha.is_number()) return Bad("lora_alpha", "must be a number");
  out.alpha = alpha.get<double>();
  RETURN_IF_ERROR(ReadFlag(config, "use_rslora", &out.rslora));
  RETURN_IF_ERROR(ReadFlag(config, "use_dora", &out.dora));
  RETURN_IF_ERROR(ReadFlag(config, "lora_bias", &out.lora_bias));
  ASSIGN_OR_RETURN(out.tokens, ParseTokenFields(config));
  RETURN_IF_ERROR(CheckVariants(config, out));
  RETURN_IF_ERROR(ReadPatterns(config, "rank_pattern", true, &out.rank_pattern));
  RETURN_IF_ERROR(ReadPatterns(config, "alpha_pattern", false, &out.alpha_pattern));
  RETURN_IF_ERROR(ReadHeads(config, &out));
  return out;
}

absl::StatusOr<int> AdapterConfig::RankOf(std::string_view path) const {
  auto found = rank_pattern.Find(path);
  if (!found.ok()) return Annotate(found.status(), "rank_pattern of adapter_config.json");
  return static_cast<int>(found->value_or(rank));
}

absl::StatusOr<float> AdapterConfig::ScaleOf(std::string_view path) const {
  ASSIGN_OR_RETURN(const int module_rank, RankOf(path));
  auto found = alpha_pattern.Find(path);
  if (!found.ok()) return Annotate(found.status(), "alpha_pattern of adapter_config.json");
  const double divisor = rslora ? std::sqrt(static_cast<double>(module_rank)) : module_rank;
  const auto scale = static_cast<float>(found->value_or(alpha) / divisor);
  if (!std::isfinite(scale))
    return InvalidArgument("lora_alpha of adapter_config.json gives an infinite scale");
  return scale;
}

}  // namespace hydrad
