// Reads one module of a plain LoRA as PEFT saves it: lora_A [r, in], lora_B [out, r], y += s B A x with s
// = alpha / r, or alpha / sqrt(r) with use_rslora (Hu et al., arXiv 2106.09685; Kalajdzievski, arXiv
// 2312.03732); with lora_bias y += s c besides, for lora_B.bias c [out]. Of the embedding lora_embedding_A
// [r, vocab] and lora_embedding_B [hidden, r], with the column of the token for A x.
#ifndef HYDRAD_SERVER_ADAPTERS_FORMATS_PEFT_LORA_H_
#define HYDRAD_SERVER_ADAPTERS_FORMATS_PEFT_LORA_H_

#include <absl/status/statusor.h>

#include "server/adapters/formats/adapter_config.h"
#include "server/adapters/formats/module_tensors.h"
#include "server/backend/adapter_weights.h"

namespace hydrad {

// The result points into the file that `module` views and into `storage`. INVALID_ARGUMENT names tensor and
// reason: missing, unexpected, or not of the type, shape (by the config's rank and the base model) or
// finiteness it must be. REQUIRES: config.heads is 0.
absl::StatusOr<ProjectionWeights> ReadPeftLora(const AdapterConfig& config, const ModuleTensors& module,
                                               TensorStorage& storage);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_ADAPTERS_FORMATS_PEFT_LORA_H_
