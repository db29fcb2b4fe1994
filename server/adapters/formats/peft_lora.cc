#include "server/adapters/formats/peft_lora.h"

#include <fmt/core.h>

#include <string>
#include <vector>

#include "server/base/status_macros.h"

namespace hydrad {
namespace {

constexpr char kBias[] = "lora_B.bias";

// The adapter's name in "lora_A.NAME", as the state dict of a model has it.
std::string_view NameIn(const ModuleTensors& module) {
  for (const auto& [part, tensor] : module.parts) {
    const bool factor = part.starts_with("lora_A.") || part.starts_with("lora_B.");
    if (factor && part != kBias) return part.substr(std::string_view("lora_A.").size());
  }
  return {};
}

std::string Hint(const AdapterConfig& config, const ModuleTensors& module) {
  if (const std::string_view name = NameIn(module); !name.empty()) {
    return fmt::format(
        "holds the adapter's name, as a model's state dict does: save it with save_pretrained, or take '.{}' "
        "out of "
        "the names",
        name);
  }
  if (module.parts.contains("lora_route")) {
    return "is of HydraLoRA or LoRAMoE, but adapter_config.json has no lora_nums";
  }
  if (module.parts.contains(kBias) && !config.lora_bias) {
    return "is there, but adapter_config.json does not set lora_bias";
  }
  return "is not of a plain LoRA";
}

// PEFT multiplies the bias of lora_B by the scale as all that lora_B gives.
absl::Status ReadBias(const ModuleTensors& module, ProjectionWeights* weights) {
  ASSIGN_OR_RETURN(weights->out_bias, module.Vector(kBias, module.out));
  for (float& value : weights->out_bias) value *= weights->scale[0];
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<ProjectionWeights> ReadPeftLora(const AdapterConfig& config, const ModuleTensors& module,
                                               TensorStorage& storage) {
  const bool embedding = module.projection == Projection::kEmbedding;
  const std::string a = embedding ? "lora_embedding_A" : "lora_A";
  const std::string b = embedding ? "lora_embedding_B" : "lora_B";
  const bool biased = config.lora_bias && !embedding;
  std::vector<std::string> expected = {a, b};
  if (biased) expected.push_back(kBias);
  RETURN_IF_ERROR(module.CheckParts(expected, Hint(config, module)));
  ProjectionWeights weights;
  weights.layer = module.layer;
  weights.projection = module.projection;
  ASSIGN_OR_RETURN(const int rank, config.RankOf(module.path));
  ASSIGN_OR_RETURN(weights.scale.emplace_back(), config.ScaleOf(module.path));
  ASSIGN_OR_RETURN(weights.a.emplace_back(), module.Matrix(a, rank, module.in, storage));
  ASSIGN_OR_RETURN(weights.b.emplace_back(), module.Matrix(b, module.out, rank, storage));
  if (biased) RETURN_IF_ERROR(ReadBias(module, &weights));
  return weights;
}

}  // namespace hydrad
