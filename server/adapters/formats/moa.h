// Reads the tensors of an MoA: the low-rank pairs of its experts, and the routers.
//
//   base_model.model.<module>.lora_A.<expert>.weight [r, in], ...lora_B.<expert>.weight [out, r]
//   base_model.model.model.layers.<layer>.moa_router.weight [experts, hidden], ....moa_router.bias [experts]
//
// An expert that is a PEFT directory of its own may bring its row of the routers, as moa_router tensors with
// one row.
#ifndef HYDRAD_SERVER_ADAPTERS_FORMATS_MOA_H_
#define HYDRAD_SERVER_ADAPTERS_FORMATS_MOA_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <span>
#include <string_view>
#include <vector>

#include "server/adapters/formats/moa_config.h"
#include "server/adapters/formats/module_tensors.h"
#include "server/backend/expert_router.h"
#include "server/model/safetensors.h"

namespace hydrad {

// Whether a tensor of this name is of a router. SortByModule leaves those out.
bool IsRouterTensor(std::string_view name);

// The routers of `file`: row e of every layer goes to experts[e].router and, where the file has biases,
// router_bias. Nothing happens if the file has no routers. INVALID_ARGUMENT, naming the tensor, where a layer
// lacks one that others have, for another shape than [experts.size(), hidden], and for a value that is not
// finite.
absl::Status ReadRouters(const Safetensors& file, const AdapterShape& shape, TensorStorage& storage,
                         std::span<ExpertWeights> experts);

// Every tensor of the bundle's modules is a factor of one of its experts, of those without a path.
// INVALID_ARGUMENT names the first that is not.
absl::Status CheckMoaParts(const MoaConfig& config, std::span<const ModuleTensors> modules);

// The pairs of one of the bundle's experts, in `storage` of its own, so that each can go without the others.
// It may leave out modules that others have, but not all (target_check.h says which it must have).
// INVALID_ARGUMENT names the tensor and the reason.
absl::StatusOr<ExpertWeights> ReadMoaExpert(const MoaConfig::Expert& expert,
                                            std::span<const ModuleTensors> modules, TensorStorage& storage);
// Whether a tensor of this name is of that expert.
bool IsTensorOf(const MoaConfig::Expert& expert, std::string_view name);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_ADAPTERS_FORMATS_MOA_H_
