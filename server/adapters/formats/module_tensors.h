// Sorts the tensors of a file by the projection that they belong to.
#ifndef HYDRAD_SERVER_ADAPTERS_FORMATS_MODULE_TENSORS_H_
#define HYDRAD_SERVER_ADAPTERS_FORMATS_MODULE_TENSORS_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "server/adapters/formats/tensor_check.h"
#include "server/adapters/formats/tensor_key.h"
#include "server/backend/adapter_weights.h"  // AdapterShape
#include "server/model/safetensors.h"

namespace hydrad {

// A tensor of a module, and its whole name in the file.
struct PartTensor {
  std::string_view name;
  const TensorInfo* tensor;
};

// The tensors of a file for one projection of one layer, for the embedding or for lm_head. Views into the
// Safetensors that they came from, which must outlive them.
struct ModuleTensors {
  int layer = 0;
  Projection projection = Projection::kQ;
  std::string_view path;                         // "model.layers.3.self_attn.q_proj"
  int in = 0, out = 0;                           // of the base's module; an embedding takes vocab to hidden
  std::map<std::string_view, PartTensor> parts;  // by "lora_A", "lora_B3", ... (TensorKey::part)

  // The name that a part has in the file, whether it is there or not.
  std::string TensorName(std::string_view part) const;
  // INVALID_ARGUMENT for the first part beside `expected` (with `hint`) and for the first of `expected` that
  // is missing.
  absl::Status CheckParts(std::span<const std::string> expected, std::string_view hint) const;
  // A part as a finite [rows, cols] matrix; errors name its tensor. REQUIRES: the part is there.
  absl::StatusOr<HostMatrix> Matrix(std::string_view part, int rows, int cols, TensorStorage& storage) const;
  // A part of shape [size], on the same terms.
  absl::StatusOr<std::vector<float>> Vector(std::string_view part, int size) const;
};

// Sorts every tensor of `file` but those whose names `skip` is true of; modules come in the order of layers
// and projections. INVALID_ARGUMENT for a name that ParseTensorKey refuses, for a part that is there in two
// spellings, and for a file without tensors.
absl::StatusOr<std::vector<ModuleTensors>> SortByModule(const Safetensors& file, const AdapterShape& shape,
                                                        bool (*skip)(std::string_view) = nullptr);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_ADAPTERS_FORMATS_MODULE_TENSORS_H_
