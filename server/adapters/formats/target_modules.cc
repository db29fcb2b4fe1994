#include "server/adapters/formats/target_modules.h"

#include <fmt/core.h>

#include <algorithm>
#include <charconv>
#include <utility>

#include "server/adapters/formats/adapter_fields.h"
#include "server/base/invalid_argument.h"
#include "server/base/status_macros.h"

namespace hydrad {
namespace {

constexpr char kTargets[] = "target_modules", kExcluded[] = "exclude_modules";
constexpr char kLayers[] = "layers_to_transform", kPattern[] = "layers_pattern";
constexpr size_t kMostNames = 100'000;

absl::StatusOr<PathPattern> Compile(const char* field, const std::string& pattern) {
  absl::StatusOr<PathPattern> compiled = PathPattern::Compile(pattern);
  if (!compiled.ok()) return Annotate(compiled.status(), fmt::format("field '{}'", field));
  return compiled;
}

// The number behind "model.layers."; nothing of a module outside the layers.
std::optional<int> LayerOf(std::string_view path) {
  constexpr std::string_view kRoot = "model.layers.";
  int layer = 0;
  if (!path.starts_with(kRoot)) return std::nullopt;
  path.remove_prefix(kRoot.size());
  const auto [end, error] = std::from_chars(path.data(), path.data() + path.size(), layer);
  return error == std::errc() ? std::optional(layer) : std::nullopt;
}

std::string Lower(std::string text) {
  std::ranges::transform(text, text.begin(), [](char c) { return c >= 'A' && c <= 'Z' ? c | 0x20 : c; });
  return text;
}

}  // namespace

absl::StatusOr<TargetModules::Names> TargetModules::Names::Parse(const char* field, const Json& value) {
  Names names;
  if (value.is_null()) return names;
  if (value.is_string()) {
    if (value == "") return names;
    ASSIGN_OR_RETURN(names.pattern, Compile(field, value.get<std::string>()));
    return names;
  }
  const absl::Status bad = BadField(field, "must be a list of module names or a regular expression");
  if (!value.is_structured() || value.size() > kMostNames) return bad;
  for (const auto& [key, item] : value.items()) {
    if (value.is_object() ? !item.is_boolean() : !item.is_string()) return bad;
    if (value.is_array()) names.ends.push_back(item.get<std::string>());
    if (value.is_object() && item.get<bool>()) names.ends.push_back(key);
  }
  return names;
}

absl::StatusOr<bool> TargetModules::Names::Has(std::string_view path) const {
  if (pattern) return pattern->Matches(path);
  return std::ranges::any_of(ends, [&](const std::string& end) {
    if (!path.ends_with(end)) return false;
    return bare_ends || path.size() == end.size() || path[path.size() - end.size() - 1] == '.';
  });
}

absl::StatusOr<TargetModules> TargetModules::Parse(const Json& config, bool bare_ends) {
  TargetModules out;
  const Json& targets = Field(config, kTargets);
  out.told_ = !targets.is_null();
  out.all_linear_ = targets.is_string() && Lower(targets.get<std::string>()) == "all-linear";
  if (!out.all_linear_) {
    ASSIGN_OR_RETURN(out.targets_, Names::Parse(kTargets, targets));
  }
  out.targets_.bare_ends = bare_ends;
  ASSIGN_OR_RETURN(out.excluded_, Names::Parse(kExcluded, Field(config, kExcluded)));
  RETURN_IF_ERROR(out.ReadLayers(config));
  if (targets.is_string()) out.layers_.reset();  // they narrow down lists alone
  return out;
}

absl::Status TargetModules::ReadLayers(const Json& config) {
  const Json& layers = Field(config, kLayers);
  if (!layers.is_null() && !(layers.is_array() && layers.empty())) {
    layers_.emplace();
    for (const Json& layer : layers.is_array() ? layers : Json::array({layers})) {
      const double number = layer.is_number_integer() ? layer.get<double>() : -1;  // no integer wraps
      if (!(number >= 0 && number <= 1e6))
        return BadField(kLayers, "must be the number of a layer, or a list of them");
      layers_->push_back(static_cast<int>(number));
    }
  }
  const Json& patterns = Field(config, kPattern);
  if (patterns.is_null() || patterns == "") return absl::OkStatus();
  for (const Json& pattern : patterns.is_array() ? patterns : Json::array({patterns})) {
    if (!pattern.is_string())
      return BadField(kPattern, "must be the name of a list of layers, or a list of them");
    const std::string whole = "(?:.*?\\.)?" + pattern.get<std::string>() + "\\.\\d+\\..*";
    ASSIGN_OR_RETURN(PathPattern compiled, Compile(kPattern, whole));
    layer_patterns_.push_back(std::move(compiled));
  }
  return absl::OkStatus();
}

absl::StatusOr<bool> TargetModules::HasLayer(std::string_view path) const {
  const std::optional<int> layer = LayerOf(path);
  if (!layer || std::ranges::find(*layers_, *layer) == layers_->end()) return false;
  for (const PathPattern& pattern : layer_patterns_) {
    ASSIGN_OR_RETURN(const bool matches, pattern.Matches(path));
    if (matches) return true;
  }
  return layer_patterns_.empty();
}

absl::StatusOr<bool> TargetModules::Has(std::string_view path) const {
  ASSIGN_OR_RETURN(const bool excluded, excluded_.Has(path));
  if (excluded) return false;
  if (all_linear_) return LayerOf(path).has_value();
  ASSIGN_OR_RETURN(const bool named, targets_.Has(path));
  if (!named || !layers_) return named;
  return HasLayer(path);
}

}  // namespace hydrad
