// Checks that an adapter's tensors are those that its config tells of.
#ifndef HYDRAD_SERVER_ADAPTERS_FORMATS_TARGET_CHECK_H_
#define HYDRAD_SERVER_ADAPTERS_FORMATS_TARGET_CHECK_H_

#include <absl/status/status.h>

#include <string>
#include <vector>

#include "server/adapters/formats/adapter_config.h"
#include "server/adapters/formats/module_tensors.h"
#include "server/backend/adapter_weights.h"  // AdapterShape
#include "server/model/safetensors.h"

namespace hydrad {

// How a difference is taken. It is refused; or `lenient`, as PEFT does, a module without tensors is left as
// it is in the base, tensors of modules that the config does not tell of are dropped, and `warnings` says so.
struct Leniency {
  bool lenient = false;
  std::vector<std::string>* warnings;
};

// Compares the modules of the base that `config` names with those of `modules` that have a LoRA.
// INVALID_ARGUMENT lists the differences, the first few by name. Where that is lenient, modules that are too
// much lose their LoRA (but not what else stands there: biases, rows of the vocabulary), and INVALID_ARGUMENT
// says that nothing is left. An `expert` of an MoA has the parts of its name alone. A config without
// target_modules tells nothing.
absl::Status CheckTargets(const AdapterConfig& config, const AdapterShape& shape, const std::string& expert,
                          Leniency leniency, std::vector<ModuleTensors>& modules);

// A view into `file`, where that is lenient without the LoRAs of modules that the model does not have.
Safetensors WithoutOtherModules(const Safetensors& file, const AdapterShape& shape, Leniency leniency);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_ADAPTERS_FORMATS_TARGET_CHECK_H_
