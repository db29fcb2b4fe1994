#include "server/adapters/hydralora.h"

#include <string>
#include <vector>

namespace hydrad {
namespace {

std::vector<std::string> Numbered(const char* prefix, int count) {
  std::vector<std::string> names;
  for (int i = 0; i < count; ++i) names.push_back(prefix + std::to_string(i));
  return names;
}

}  // namespace

absl::StatusOr<ProjectionWeights> ReadHydraLora(const AdapterConfig& config, const ModuleTensors& module,
                                                TensorStorage& storage) {
  const bool shared = !module.parts.contains("lora_A0");
  const std::vector<std::string> a =
      shared ? std::vector<std::string>{"lora_A"} : Numbered("lora_A", config.heads);
  const std::vector<std::string> b = Numbered("lora_B", config.heads);
  std::vector<std::string> expected = {"lora_route"};
  expected.insert(expected.end(), a.begin(), a.end());
  expected.insert(expected.end(), b.begin(), b.end());
  RETURN_IF_ERROR(module.CheckParts(
      expected, fmt::format("does not belong to the {} experts that lora_nums tells", config.heads)));

  ProjectionWeights weights;
  weights.layer = module.layer;
  weights.projection = module.projection;
  weights.gate.rule = GateRule::kSoftmax;
  ASSIGN_OR_RETURN(weights.router, module.Matrix("lora_route", config.heads, module.in, storage));
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
