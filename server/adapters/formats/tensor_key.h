// Takes the names of an adapter's tensors apart.
#ifndef HYDRAD_SERVER_ADAPTERS_FORMATS_TENSOR_KEY_H_
#define HYDRAD_SERVER_ADAPTERS_FORMATS_TENSOR_KEY_H_

#include <absl/status/statusor.h>

#include <string_view>

#include "server/backend/adapter_weights.h"

namespace hydrad {

// Parts that are no factors of a low-rank product, in whatever spelling.
inline constexpr std::string_view kBiasPart = "bias";             // of the base's module, trained
inline constexpr std::string_view kWeightPart = "weight";         // the adapter's own matrix of the module
inline constexpr std::string_view kBaseLayerPart = "base_layer";  // the base's matrix as the adapter saw it
inline constexpr std::string_view kOriginalPart = "original_module";      // what an own matrix stands for
inline constexpr std::string_view kVeloraPart = "lora_velora_embed";      // counts in training alone
inline constexpr std::string_view kTrainedTokensPart = "trained_tokens";  // own rows of some tokens

// "base_model.model.model.layers.3.self_attn.q_proj.lora_A.weight" is layer 3, projection kQ, path
// "model.layers.3.self_attn.q_proj" and part "lora_A". The views point into the key, or to constants.
struct TensorKey {
  int layer = 0;  // 0 for embed_tokens and lm_head
  Projection projection = Projection::kQ;
  std::string_view path;  // of the module, as PEFT's patterns see it
  // "lora_A", without ".weight"; of an MoA with the expert, "lora_A.poems"; "lora_B.bias"; or one of those
  // above
  std::string_view part;
};

// INVALID_ARGUMENT with the reason: the thing by its name where the key tells what it is of (a trained norm,
// another family), the layer where the model has only `layers`, the module where it is not one of the seven
// projections, embed_tokens or lm_head.
absl::StatusOr<TensorKey> ParseTensorKey(std::string_view key, int layers);

// Whether the key is a LoRA's, of no family that is refused by name, and of a module that the model does not
// have.
bool IsOfAnotherModule(std::string_view key, int layers);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_ADAPTERS_FORMATS_TENSOR_KEY_H_
