// The rotary embedding as config.json tells it.
#ifndef HYDRAD_SERVER_MODEL_ROPE_CONFIG_H_
#define HYDRAD_SERVER_MODEL_ROPE_CONFIG_H_

#include <absl/status/status.h>

#include "server/model/config_fields.h"
#include "server/model/model_config.h"

namespace hydrad {

// Reads `rope_scaling`, or `rope_parameters` where that is absent, null or empty, and the fields beside them,
// as transformers does. INVALID_ARGUMENT names the field: another type than default, linear and llama3, a
// part of the head left out, parameters by the type of a layer, numbers missing or out of range.
absl::Status ReadRope(ConfigFields& fields, ModelConfig& config);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_MODEL_ROPE_CONFIG_H_
