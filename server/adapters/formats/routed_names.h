// The tensor names of routed adapters from other codes, in those of HydraLoRA's, which the reader knows:
//
//   MoE-PEFT (github.com/TUDB-Labs/MoE-PEFT), FAMILY "mola" or "loramoe":
//     FAMILY.layers.L.MODULE.moe_gate.weight base_model.model.model.layers.L.MODULE.lora_route.weight
//     FAMILY.layers.L.MODULE.experts.E.lora_A.weight    ... .lora_AE.weight, and lora_B
//   AdaMoLE (github.com/zefang-liu/AdaMoLE), behind the same path:
//     lora_gating.weight                                lora_route.weight
//     lora_threshold.weight, .bias                      lora_route_threshold.weight,
//     lora_route_threshold_bias.weight lora_A.E.weight, lora_B.E.weight                  lora_AE.weight,
//     lora_BE.weight moe_layer.experts.E.lora_A.weight, ...            the same tensors once more
#ifndef HYDRAD_SERVER_ADAPTERS_FORMATS_ROUTED_NAMES_H_
#define HYDRAD_SERVER_ADAPTERS_FORMATS_ROUTED_NAMES_H_

#include <absl/status/statusor.h>

#include <cstdint>
#include <string>
#include <string_view>

#include "server/model/safetensors.h"

namespace hydrad {

enum class TensorNames : uint8_t { kPeft, kMola, kLoraMoe, kAdaMole };

// The tensors of `file` under the names of HydraLoRA: views into it, which must outlive them.
// INVALID_ARGUMENT names a tensor whose name is not of this code, or a second copy that differs from the
// first.
absl::StatusOr<Safetensors> InHydraNames(TensorNames names, const Safetensors& file);

// `text` with each tensor name of HydraLoRA in it spelled as the file spells it.
std::string InFileNames(TensorNames names, std::string_view text);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_ADAPTERS_FORMATS_ROUTED_NAMES_H_
