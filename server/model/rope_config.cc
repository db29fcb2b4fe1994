#include "server/model/rope_config.h"

#include <fmt/core.h>
#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <numbers>

#include "server/base/invalid_argument.h"
#include "server/base/status_macros.h"

namespace hydrad {
namespace {

using Json = nlohmann::json;
using Scaling = ModelConfig::Rope::Scaling;

constexpr int kMaxPositions = 1 << 24;
constexpr double kMaxTheta = 1e12, kMaxFactor = 1e6;

// The field of a config that tells of the rotary embedding, or null.
const char* NameOfParameters(const ConfigFields& fields) {
  for (const char* name : {"rope_scaling", "rope_parameters"}) {
    if (fields.Has(name) && !(fields[name].is_object() && fields[name].empty())) return name;
  }
  return nullptr;
}

void ReadLlama3(ConfigFields& f, ModelConfig::Rope& rope) {
  for (const char* name : {"low_freq_factor", "high_freq_factor"}) {
    if (!f.Has(name)) f.Fail(name, "is missing");
  }
  rope.low_freq_factor = f.PositiveOr("low_freq_factor", kMaxFactor, rope.low_freq_factor);
  rope.high_freq_factor = f.PositiveOr("high_freq_factor", kMaxFactor, rope.high_freq_factor);
  if (rope.high_freq_factor <= rope.low_freq_factor) {
    f.Fail("high_freq_factor", "is not above low_freq_factor");
  }
}

absl::Status ReadParameters(ConfigFields f, const Json& object, ModelConfig::Rope& rope) {
  for (const auto& [key, value] : object.items()) {
    if (value.is_object()) f.Fail(key.c_str(), "is for layers of one type alone, which is not supported");
  }
  const std::string type = f.StringOr("rope_type", f.StringOr("type", "default"));
  rope.theta = f.PositiveOr("rope_theta", kMaxTheta, rope.theta);
  if (f.PositiveOr("partial_rotary_factor", 1, 1) != 1) {
    f.Fail("partial_rotary_factor", "other than 1 is not supported");
  }
  if (type == "linear" || type == "llama3") {
    rope.scaling = type == "linear" ? Scaling::kLinear : Scaling::kLlama3;
    rope.factor = f.PositiveOr("factor", kMaxFactor, 0);
    if (!f.Has("factor")) f.Fail("factor", "is missing");
  } else if (type != "default") {
    f.Fail("rope_type", fmt::format("'{}' is not default, linear or llama3", type));
  }
  if (type == "llama3") ReadLlama3(f, rope);
  rope.original_max_positions =
      f.PositiveOr("original_max_position_embeddings", kMaxPositions, rope.original_max_positions);
  return f.status();
}

}  // namespace

absl::Status ReadRope(ConfigFields& f, ModelConfig& config) {
  ModelConfig::Rope& rope = config.rope;
  rope.theta = f.PositiveOr("rope_theta", kMaxTheta, 10000);
  // The file's own number goes before that of the parameters.
  const char* original = "original_max_position_embeddings";
  const double outside = f.PositiveOr(original, kMaxPositions, 0);
  rope.original_max_positions = config.max_positions;
  RETURN_IF_ERROR(f.status());
  if (const char* name = NameOfParameters(f); name != nullptr) {
    if (!f[name].is_object()) return InvalidArgument("config.json: {} is not an object", name);
    RETURN_IF_ERROR(
        ReadParameters(ConfigFields("config.json", f[name], std::string(name) + "."), f[name], rope));
  }
  if (outside > 0) rope.original_max_positions = outside;
  return absl::OkStatus();
}

std::vector<double> InverseFrequencies(const ModelConfig& config) {
  const ModelConfig::Rope& rope = config.rope;
  std::vector<double> result(config.head_dim / 2);
  for (size_t i = 0; i < result.size(); ++i) {
    const double frequency = std::pow(rope.theta, -2.0 * static_cast<double>(i) / config.head_dim);
    result[i] = frequency;
    if (rope.scaling == Scaling::kLinear) result[i] = frequency / rope.factor;
    if (rope.scaling == Scaling::kLlama3) {
      // How often the wave fits into the original context decides: often: kept, seldom: stretched, between:
      // blended.
      const double turns = rope.original_max_positions * frequency / (2 * std::numbers::pi);
      const double kept = std::clamp(
          (turns - rope.low_freq_factor) / (rope.high_freq_factor - rope.low_freq_factor), 0.0, 1.0);
      result[i] = kept * frequency + (1 - kept) * frequency / rope.factor;
    }
  }
  return result;
}

}  // namespace hydrad
