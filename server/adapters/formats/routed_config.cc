#include "server/adapters/formats/routed_config.h"

#include <algorithm>
#include <array>

#include "server/adapters/formats/adapter_fields.h"
#include "server/base/invalid_argument.h"
#include "server/base/status_macros.h"

namespace hydrad {
namespace {

constexpr int kMaxHeads = 1024;

constexpr std::array kRouted = {
    RoutedFormat{"MOLA", "mola", TensorNames::kMola, "r", {GateRule::kTopK, 2, true}},
    RoutedFormat{"LORAMOE", "loramoe", TensorNames::kLoraMoe, "r", {GateRule::kSoftmax}},
    RoutedFormat{"ADAMOLE", "adamole", TensorNames::kAdaMole, "lora_rank", {GateRule::kThreshold}},
    RoutedFormat{"MOLE", "mole", TensorNames::kAdaMole, "lora_rank", {GateRule::kTopK, 0, true}},
};

// top_k and norm_topk_prob of an adapter that keeps some of its experts; without top_k it keeps all.
absl::Status ReadTopK(const Json& config, AdapterConfig* out) {
  const Json& normalise = Field(config, "norm_topk_prob");
  if (!normalise.is_null() && !normalise.is_boolean())
    return BadField("norm_topk_prob", "must be true or false");
  if (!Field(config, "top_k").is_null()) {
    out->gate = {GateRule::kTopK, 0, normalise != false};
    return ReadInt(config, "top_k", out->heads, &out->gate.top_k);
  }
  if (out->gate.top_k > out->heads)
    return BadField("top_k", "must be given where there are fewer experts than 2");
  return absl::OkStatus();
}

absl::Status ReadThreshold(const Json& config, const char* field, LoraGate* gate) {
  const Json& value = Field(config, field);
  const double threshold = value.is_number() ? value.get<double>() : -1;
  if (!(threshold >= 0 && threshold <= 1e6)) return BadField(field, "must be a number from 0");
  gate->threshold = static_cast<float>(threshold);
  return absl::OkStatus();
}

// MoLE's top_k or threshold.
absl::Status ReadMoleGate(const Json& config, AdapterConfig* out) {
  const bool fixed = !Field(config, "threshold").is_null();
  if (fixed != Field(config, "top_k").is_null())
    return BadField("top_k", "or 'threshold' must be given, not both");
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
      return BadField(patterns == &out->rank_pattern ? "rank_pattern" : "alpha_pattern",
                      "is not known to this family");
  }
  if (out->rslora && format.names == TensorNames::kAdaMole)
    return BadField("use_rslora", "is not known to this family");
  if (!Field(config, "threshold").is_null() && format.family != std::string_view("mole"))
    return BadField("threshold", "is not known to this family");
  if (IsOn(Field(config, "jitter_noise"))) return BadField("jitter_noise", "would make the router random");
  const Json& strategy = Field(config, "routing_strategy");
  if (!strategy.is_null() && strategy != format.family) {
    return InvalidArgument("field 'routing_strategy': must be '{}'", format.family);
  }
  if (format.gate.rule == GateRule::kThreshold) return ReadAdaMoleGate(config, out);
  if (format.gate.rule == GateRule::kSoftmax) return absl::OkStatus();
  if (format.names == TensorNames::kAdaMole) return ReadMoleGate(config, out);
  return ReadTopK(config, out);
}

}  // namespace

const RoutedFormat* FindRouted(const Json& type) {
  const auto found = std::ranges::find_if(kRouted, [&](const RoutedFormat& f) { return type == f.type; });
  return found == kRouted.end() ? nullptr : &*found;
}

absl::Status ReadExperts(const Json& config, AdapterConfig* out) {
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
    return BadField(extra, "has no meaning beside lora_nums: HydraLoRA scales by lora_alpha / r alone");
  out->gate.rule = GateRule::kSoftmax;
  return ReadTopK(config, out);
}

}  // namespace hydrad
