// Names of an adapter's tensors, taken apart.
#ifndef HYDRAD_SERVER_ADAPTERS_TENSOR_KEY_H_
#define HYDRAD_SERVER_ADAPTERS_TENSOR_KEY_H_

#include <string_view>

#include "server/backend/adapter_weights.h"
#include "server/base/status.h"

namespace hydrad {

// "base_model.model.model.layers.3.self_attn.q_proj.lora_A.weight" is layer 3, projection kQ, path
// "model.layers.3.self_attn.q_proj" and part "lora_A". The views point into the key.
struct TensorKey {
  int layer = 0;
  Projection projection = Projection::kQ;
  std::string_view path;  // of the module, as PEFT's patterns see it
  std::string_view part;  // without ".weight"; of an MoA with the expert, "lora_A.poems"
};

// INVALID_ARGUMENT with the reason: the thing by its name where the key tells what it is of (DoRA, a bias, a
// trained embedding, another family), the layer where the model has only `layers`, the module where it is not
// one of the seven projections.
absl::StatusOr<TensorKey> ParseTensorKey(std::string_view key, int layers);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_ADAPTERS_TENSOR_KEY_H_
