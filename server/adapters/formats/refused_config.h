// The fields of adapter_config.json that change what an adapter computes and are not followed: an adapter
// that has one on is refused, since the answer would be wrong in silence.
#ifndef HYDRAD_SERVER_ADAPTERS_FORMATS_REFUSED_CONFIG_H_
#define HYDRAD_SERVER_ADAPTERS_FORMATS_REFUSED_CONFIG_H_

#include <absl/status/status.h>

#include "server/base/json.h"

namespace hydrad {

// Whether the adapter is of a family that is supported. INVALID_ARGUMENT that names its family, or says that
// it is of mlx-lm.
absl::Status CheckFamily(const Json& config);

// Whether nothing is on that is not followed. INVALID_ARGUMENT that names the field: one that is known and
// refused; one that is not known and `true`, a list or an object with something in it, which is how PEFT
// switches features on; a kind of bias that PEFT does not have; an init that changed the base's weights.
// REQUIRES: CheckFamily was OK, and TakeMoaConfig has taken an MoA's fields out.
absl::Status CheckFields(const Json& config);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_ADAPTERS_FORMATS_REFUSED_CONFIG_H_
