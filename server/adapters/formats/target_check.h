// Whether an adapter's tensors are those that its config tells of.
#ifndef HYDRAD_SERVER_ADAPTERS_FORMATS_TARGET_CHECK_H_
#define HYDRAD_SERVER_ADAPTERS_FORMATS_TARGET_CHECK_H_

#include <string>
#include <vector>

#include "server/adapters/formats/adapter_config.h"
#include "server/adapters/formats/module_tensors.h"
#include "server/backend/backend.h"  // AdapterShape
#include "server/base/status.h"
#include "server/model/safetensors.h"

namespace hydrad {

// How a difference is taken: refused, or as PEFT does, which leaves a module without tensors as it is in the
// base and drops tensors of modules that it was not told of. Then `warnings` says what was done.
struct Leniency {
  bool lenient = false;
  std::vector<std::string>* warnings;
};

// The modules of the base that `config` names and `modules` has no LoRA of, and the other way round.
// INVALID_ARGUMENT lists them, the first few by name; where that is lenient, those that are too much lose
// their LoRA (but not what else stands there: biases, rows of the vocabulary), and INVALID_ARGUMENT is for
// nothing being left. An `expert` of an MoA has the parts of its name alone. A config without target_modules
// tells nothing.
absl::Status CheckTargets(const AdapterConfig& config, const AdapterShape& shape, const std::string& expert,
                          Leniency leniency, std::vector<ModuleTensors>& modules);

// `file`, where that is lenient without the LoRAs of modules that the model does not have. A view into it.
Safetensors WithoutOtherModules(const Safetensors& file, const AdapterShape& shape, Leniency leniency);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_ADAPTERS_FORMATS_TARGET_CHECK_H_
