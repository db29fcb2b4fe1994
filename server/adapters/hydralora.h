// Reads one projection of a HydraLoRA (Tian et al., arXiv 2404.19245) or of its parent LoRAMoE (Dou et al.,
// arXiv 2312.09979), which differ only in whether the N experts share their A. Files of
// github.com/Clin0212/HydraLoRA and github.com/Ablustrund/LoRAMoE, as safetensors:
//
//   lora_route [N, in]; lora_A [r, in] or lora_A0 .. lora_A{N-1}; lora_B0 .. lora_B{N-1} [out, r]
//   y += (alpha / r) * sum over e of  softmax(lora_route x)_e * B_e (A_e x)
#ifndef HYDRAD_SERVER_ADAPTERS_HYDRALORA_H_
#define HYDRAD_SERVER_ADAPTERS_HYDRALORA_H_

#include "server/adapters/adapter_config.h"
#include "server/adapters/module_tensors.h"
#include "server/backend/adapter_weights.h"
#include "server/base/status.h"

namespace hydrad {

// As ReadPeftLora. N is config.heads; each module by itself has a shared A or one per expert.
// REQUIRES: config.heads is not 0.
absl::StatusOr<ProjectionWeights> ReadHydraLora(const AdapterConfig& config, const ModuleTensors& module,
                                                TensorStorage& storage);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_ADAPTERS_HYDRALORA_H_
