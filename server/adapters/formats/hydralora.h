// Reads one projection of a HydraLoRA (Tian et al., arXiv 2404.19245), of its parent LoRAMoE (Dou et al.,
// arXiv 2312.09979) or of another adapter with a router per module. Files of github.com/Clin0212/HydraLoRA
// and github.com/Ablustrund/LoRAMoE, as safetensors, and what routed_names.h turns into them:
//
//   lora_route [N, in]; lora_A [r, in] or lora_A0 .. lora_A{N-1}; lora_B0 .. lora_B{N-1} [out, r]
//   y += scale * sum over e of  c_e * B_e (A_e x),  c from p = softmax(lora_route x)
//
// HydraLoRA and LoRAMoE: c = p. MoLA (arXiv 2402.08562), MoLE with top_k, and a HydraLoRA whose config has
// top_k: the k largest of p. MoLE with a threshold: those from it on. AdaMoLE (arXiv 2405.00361): those from
// t = max_threshold * sigmoid(lora_route_threshold x + lora_route_threshold_bias) on, less t.
#ifndef HYDRAD_SERVER_ADAPTERS_FORMATS_HYDRALORA_H_
#define HYDRAD_SERVER_ADAPTERS_FORMATS_HYDRALORA_H_

#include <absl/status/statusor.h>

#include "server/adapters/formats/adapter_config.h"
#include "server/adapters/formats/module_tensors.h"
#include "server/backend/adapter_weights.h"

namespace hydrad {

// As ReadPeftLora. N is config.heads; each module by itself has a shared A or, as every module of the other
// codes, one per expert.
// REQUIRES: config.heads is not 0.
absl::StatusOr<ProjectionWeights> ReadHydraLora(const AdapterConfig& config, const ModuleTensors& module,
                                                TensorStorage& storage);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_ADAPTERS_FORMATS_HYDRALORA_H_
