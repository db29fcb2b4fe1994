#include "server/adapters/formats/moa_config.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <utility>

#include "server/adapters/formats/adapter_fields.h"
#include "server/adapters/formats/disk.h"  // NormalPath
#include "server/base/invalid_argument.h"
#include "server/base/status_macros.h"

namespace hydrad {
namespace {

constexpr double kMaxRank = 1 << 16;

// The field, which is taken out; null when it is not there.
Json Take(Json& config, const char* field) {
  const auto found = config.find(field);
  if (found == config.end()) return nullptr;
  Json value = std::move(*found);
  config.erase(found);
  return value;
}

absl::Status ReadNames(const Json& names, MoaConfig* out) {
  if (!names.is_array() || names.empty() || names.size() > kMaxExperts) {
    return InvalidArgument("field 'experts': must be a list of 1 to {} names", kMaxExperts);
  }
  std::set<std::string> seen;
  for (const Json& name : names) {
    if (!name.is_string() || !IsExpertName(name.get_ref<const std::string&>())) {
      return BadField("experts", "a name must be 1 to 64 of a-z A-Z 0-9 _ -");
    }
    if (!seen.insert(name).second) {
      return InvalidArgument("field 'experts': '{}' is there twice", name.get_ref<const std::string&>());
    }
    out->experts.push_back({.name = name, .path = {}});
  }
  return absl::OkStatus();
}

// `value`, or the expert's entry in it where it is a list. A list of another length holds no number.
const Json& Of(const Json& value, size_t expert, size_t experts) {
  static const Json none;
  if (!value.is_array()) return value;
  return value.size() == experts ? value[expert] : none;
}

absl::Status ReadSizes(const Json& ranks, const Json& alphas, MoaConfig* out) {
  const size_t count = out->experts.size();
  for (size_t e = 0; e < count; ++e) {
    MoaConfig::Expert& expert = out->experts[e];
    if (!expert.path.empty()) continue;  // its directory tells
    const Json& rank = Of(ranks, e, count);
    const double number = rank.is_number_integer() ? rank.get<double>() : 0;
    if (!(number >= 1 && number <= kMaxRank)) {
      return InvalidArgument("field 'r': must be an integer from 1 to {}, or a list of one for each expert",
                             static_cast<int>(kMaxRank));
    }
    const Json& alpha = Of(alphas, e, count);
    if (!alpha.is_number())
      return BadField("lora_alpha", "must be a number, or a list of one for each expert");
    expert.rank = static_cast<int>(number);
    expert.alpha = alpha.get<double>();
    if (!std::isfinite(static_cast<float>(expert.alpha / number)))
      return BadField("lora_alpha", "gives an infinite scale");
  }
  return absl::OkStatus();
}

absl::Status ReadPaths(const Json& paths, MoaConfig* out) {
  if (paths.is_null()) return absl::OkStatus();
  if (!paths.is_object())
    return BadField("expert_paths", "must be an object of expert names and directories");
  for (const auto& [name, path] : paths.items()) {
    const auto expert = std::ranges::find(out->experts, name, &MoaConfig::Expert::name);
    if (expert == out->experts.end())
      return InvalidArgument("field 'expert_paths': '{}' is not one of the experts", name);
    if (!path.is_string()) return InvalidArgument("field 'expert_paths': '{}' needs a directory", name);
    absl::StatusOr<std::string> normal = NormalPath(path.get_ref<const std::string&>());
    if (!normal.ok()) return Annotate(normal.status(), fmt::format("field 'expert_paths': '{}'", name));
    expert->path = *std::move(normal);
  }
  return absl::OkStatus();
}

absl::Status ReadRouter(const Json& router, MoaConfig* out) {
  if (router.is_null()) return absl::OkStatus();
  if (!router.is_object()) return BadField("router", "must be an object");
  for (const auto& [key, value] : router.items()) {
    if (key == "input") {
      if (value != "block_input") return BadField("router", "'input' must be 'block_input'");
    } else if (key == "pool") {
      if (value != "last" && value != "mean") return BadField("router", "'pool' must be 'last' or 'mean'");
      out->pool = value == "mean" ? RouterPool::kMean : RouterPool::kLast;
    } else if (key == "bias") {
      if (!value.is_boolean()) return BadField("router", "'bias' must be true or false");
      out->router_bias = value.get<bool>();
    } else {
      return InvalidArgument("field 'router': '{}' is not known", key);
    }
  }
  return absl::OkStatus();
}

absl::Status ReadDecision(const Json& decision, MoaConfig* out) {
  if (decision.is_null()) return absl::OkStatus();
  const auto known = decision.is_string() ? ParseDecision(decision.get_ref<const std::string&>())
                                          : std::optional<Decision>();
  if (!known) return BadField("decision", "must be 'vote', 'last', 'layer' or 'label'");
  out->decision = *known;
  return absl::OkStatus();
}

}  // namespace

bool IsExpertName(std::string_view name) {
  return !name.empty() && name.size() <= 64 && std::ranges::all_of(name, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
  });
}

absl::StatusOr<MoaConfig> TakeMoaConfig(Json& config) {
  MoaConfig out;
  RETURN_IF_ERROR(ReadNames(Take(config, "experts"), &out));
  RETURN_IF_ERROR(ReadPaths(Take(config, "expert_paths"), &out));
  const Json ranks = Take(config, "r"), alphas = Take(config, "lora_alpha");
  RETURN_IF_ERROR(ReadSizes(ranks, alphas, &out));
  RETURN_IF_ERROR(ReadRouter(Take(config, "router"), &out));
  RETURN_IF_ERROR(ReadDecision(Take(config, "decision"), &out));
  return out;
}

}  // namespace hydrad
