#include "server/adapters/formats/hydralora.h"

#include <fmt/core.h>

#include <string>
#include <vector>

#include "server/backend/host_rows.h"
#include "server/base/status_macros.h"

namespace hydrad {
namespace {

constexpr char kThreshold[] = "lora_route_threshold", kThresholdBias[] = "lora_route_threshold_bias";

std::vector<std::string> Numbered(const char* prefix, int count) {
  std::vector<std::string> names;
  for (int i = 0; i < count; ++i) names.push_back(prefix + std::to_string(i));
  return names;
}

}  // namespace

absl::StatusOr<ProjectionWeights> ReadHydraLora(const AdapterConfig& config, const ModuleTensors& module,
                                                TensorStorage& storage) {
  const bool shared = config.names == TensorNames::kPeft && !module.parts.contains("lora_A0");
  const std::vector<std::string> a =
      shared ? std::vector<std::string>{"lora_A"} : Numbered("lora_A", config.heads);
  const std::vector<std::string> b = Numbered("lora_B", config.heads);
  std::vector<std::string> expected = {"lora_route"};
  if (config.gate.rule == GateRule::kThreshold) expected = {"lora_route", kThreshold, kThresholdBias};
  expected.insert(expected.end(), a.begin(), a.end());
  expected.insert(expected.end(), b.begin(), b.end());
  RETURN_IF_ERROR(module.CheckParts(
      expected, fmt::format("does not belong to the {} experts that {} tells", config.heads,
                            config.names == TensorNames::kPeft ? "lora_nums" : "num_experts")));

  ProjectionWeights weights;
  weights.layer = module.layer;
  weights.projection = module.projection;
  weights.gate = config.gate;
  ASSIGN_OR_RETURN(weights.router, module.Matrix("lora_route", config.heads, module.in, storage));
  if (config.gate.rule == GateRule::kThreshold) {
    ASSIGN_OR_RETURN(weights.threshold, module.Matrix(kThreshold, 1, module.in, storage));
    ASSIGN_OR_RETURN(const HostMatrix bias, module.Matrix(kThresholdBias, 1, 1, storage));
    weights.router_bias.resize(static_cast<size_t>(config.heads) + 1);
    CopyRows(bias, 0, 1, &weights.router_bias.back());
  }
  for (const std::string& part : a) {
    ASSIGN_OR_RETURN(const HostMatrix matrix, module.Matrix(part, config.rank, module.in, storage));
    weights.a.push_back(matrix);
  }
  for (const std::string& part : b) {
    ASSIGN_OR_RETURN(const HostMatrix matrix, module.Matrix(part, module.out, config.rank, storage));
    weights.b.push_back(matrix);
  }
  ASSIGN_OR_RETURN(const float scale, config.ScaleOf(module.path));
  weights.scale.assign(config.heads, scale);
  return weights;
}

}  // namespace hydrad
