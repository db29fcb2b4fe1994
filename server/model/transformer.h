// The network of the Llama family, written once and device-blind. Read Layer() in transformer.cc first.
#ifndef HYDRAD_SERVER_MODEL_TRANSFORMER_H_
#define HYDRAD_SERVER_MODEL_TRANSFORMER_H_

#include <memory>
#include <string>

#include "server/backend/backend.h"
#include "server/model/model.h"

namespace hydrad {

// Loads `dir` (config.json, *.safetensors with or without an index) onto `backend`, which must outlive the
// model, and takes the KV cache and activations for `limits`. Zero fields of `limits` are filled in:
// max_context with all that the config allows (its positions, or its sliding window where that is shorter),
// kv_blocks with one sequence's. Errors: INVALID_ARGUMENT naming file and field or tensor, also for a
// max_context beyond what the config allows; NOT_FOUND without the files; RESOURCE_EXHAUSTED.
absl::StatusOr<std::unique_ptr<Model>> LoadTransformer(const std::string& dir, Backend& backend,
                                                       ModelLimits limits);

// Bytes of KV cache per block, over all layers, of this configuration and element type.
size_t KvBlockBytes(const ModelConfig& config, const ModelLimits& limits, DType type);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_MODEL_TRANSFORMER_H_
