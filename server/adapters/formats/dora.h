// DoRA (Liu et al., arXiv 2402.09353): a trained magnitude m for every row of W + s B A,
//
//   y = m / |W + s B A| * (W x + s B A x) + b
//
// which is worked out here once, at load, as the factor and the bias that an output of any adapter may have.
#ifndef HYDRAD_SERVER_ADAPTERS_FORMATS_DORA_H_
#define HYDRAD_SERVER_ADAPTERS_FORMATS_DORA_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <vector>

#include "server/adapters/formats/module_tensors.h"
#include "server/backend/adapter_weights.h"
#include "server/model/base_weights.h"

namespace hydrad {

// Takes `module`'s magnitudes [out], which are there where it has a LoRA and use_dora is set, and else not.
absl::StatusOr<std::vector<float>> TakeMagnitudes(bool use_dora, ModuleTensors& module);

// Gives `weights`, of one A and one B, their out_scale and out_bias. `own` is the module's matrix where the
// adapter has one of its own, data null otherwise. The norms are those of the rows; of an embedding, whose
// outputs are its columns, those of the columns. INVALID_ARGUMENT where a norm is 0.
absl::Status ApplyMagnitudes(const std::vector<float>& magnitudes, const ModuleTensors& module,
                             const HostMatrix& own, const BaseWeights* base, ProjectionWeights* weights);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_ADAPTERS_FORMATS_DORA_H_
