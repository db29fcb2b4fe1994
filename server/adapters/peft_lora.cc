#include "server/adapters/peft_lora.h"

#include <array>
#include <string>

namespace hydrad {

absl::StatusOr<ProjectionWeights> ReadPeftLora(const AdapterConfig& config, const ModuleTensors& module,
                                               TensorStorage& storage) {
  const bool routed = module.parts.contains("lora_route");
  RETURN_IF_ERROR(
      module.CheckParts(std::array<std::string, 2>{"lora_A", "lora_B"},
                        routed ? "is of HydraLoRA or LoRAMoE, but adapter_config.json has no lora_nums"
                               : "is not of a plain LoRA"));
  ASSIGN_OR_RETURN(const int rank, config.RankOf(module.path));
  ASSIGN_OR_RETURN(const float scale, config.ScaleOf(module.path));
  ASSIGN_OR_RETURN(const HostMatrix a, module.Matrix("lora_A", rank, module.in, storage));
  ASSIGN_OR_RETURN(const HostMatrix b, module.Matrix("lora_B", module.out, rank, storage));

  ProjectionWeights weights;
  weights.layer = module.layer;
  weights.projection = module.projection;
  weights.a = {a};
  weights.b = {b};
  weights.scale = {scale};
  return weights;
}

}  // namespace hydrad
