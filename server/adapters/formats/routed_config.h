// What adapter_config.json says about the experts of an adapter that has a router for each module: HydraLoRA,
// MoLA, LoRAMoE, AdaMoLE, MoLE.
#ifndef HYDRAD_SERVER_ADAPTERS_FORMATS_ROUTED_CONFIG_H_
#define HYDRAD_SERVER_ADAPTERS_FORMATS_ROUTED_CONFIG_H_

#include <absl/status/status.h>

#include "server/adapters/formats/adapter_config.h"
#include "server/base/json.h"

namespace hydrad {

// One of the codes other than PEFT's and HydraLoRA's whose adapters have a router for each module.
struct RoutedFormat {
  std::string_view type;  // peft_type
  const char* family;     // routing_strategy, where the file has it; AdapterConfig::family
  TensorNames names;
  const char* rank_field;  // "r" or another name of it
  LoraGate gate;           // unless fields say otherwise
};

// Returns the format with this peft_type, which lives as long as the program; null where there is none.
const RoutedFormat* FindRouted(const Json& type);

// Fills in heads, gate, names and family of `out`; heads stays 0 for plain LoRA. INVALID_ARGUMENT names the
// field: one that is out of range, or that has no meaning beside experts. REQUIRES: all else in `out` that
// does not speak of experts has been read.
absl::Status ReadExperts(const Json& config, AdapterConfig* out);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_ADAPTERS_FORMATS_ROUTED_CONFIG_H_
