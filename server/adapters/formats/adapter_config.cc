#include "server/adapters/formats/adapter_config.h"

#include <fmt/core.h>

#include <cmath>
#include <limits>
#include <string>

#include "server/adapters/formats/adapter_fields.h"
#include "server/adapters/formats/refused_config.h"
#include "server/adapters/formats/routed_config.h"
#include "server/base/invalid_argument.h"
#include "server/base/json.h"
#include "server/base/status_macros.h"

namespace hydrad {
namespace {

constexpr int kMaxRank = 1 << 16;

absl::Status ReadPatterns(const Json& config, const char* field, bool ranks, PatternTable* out) {
  const Json& value = Field(config, field);
  if (value.is_null()) return absl::OkStatus();
  if (!value.is_object()) return BadField(field, "must be an object of patterns and numbers");
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

// Fields that would give an expert another scale or rank than those of the MoA's own lists.
absl::Status CheckMoaScales(const Json& config) {
  for (const char* field :
       {"use_rslora", "rank_pattern", "alpha_pattern", "lora_nums", "use_dora", "lora_bias",
        "alora_invocation_tokens", "modules_to_save", "trainable_token_indices"}) {
    if (IsOn(Field(config, field)))
      return BadField(field,
                      "has no meaning in an MoA: r and lora_alpha may be lists with one number per expert");
  }
  return absl::OkStatus();
}

// PEFT has one variant of a LoRA layer at a time.
absl::Status CheckVariants(const Json& json, const AdapterConfig& config) {
  if (config.dora && config.lora_bias) return BadField("lora_bias", "does not go with use_dora");
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
  RETURN_IF_ERROR(CheckFields(config));
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
  if (!alpha.is_number()) return BadField("lora_alpha", "must be a number");
  out.alpha = alpha.get<double>();
  RETURN_IF_ERROR(ReadFlag(config, "use_rslora", &out.rslora));
  RETURN_IF_ERROR(ReadFlag(config, "use_dora", &out.dora));
  RETURN_IF_ERROR(ReadFlag(config, "lora_bias", &out.lora_bias));
  ASSIGN_OR_RETURN(out.tokens, ParseTokenFields(config));
  RETURN_IF_ERROR(CheckVariants(config, out));
  RETURN_IF_ERROR(ReadPatterns(config, "rank_pattern", true, &out.rank_pattern));
  RETURN_IF_ERROR(ReadPatterns(config, "alpha_pattern", false, &out.alpha_pattern));
  RETURN_IF_ERROR(ReadExperts(config, &out));
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
