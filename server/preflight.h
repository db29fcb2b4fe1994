// What is looked at before anything is loaded, so that a mistake is not told after minutes.
#ifndef HYDRAD_SERVER_PREFLIGHT_H_
#define HYDRAD_SERVER_PREFLIGHT_H_

#include <absl/status/status.h>

#include "server/backend/tensor.h"
#include "server/config.h"

namespace hydrad {

// The types that the weights and the KV cache are asked to have. Nobody asks for the cache's apart yet.
DType WeightType(const Config& config);
DType KvType(const Config& config);

// What can be said of a configuration without loading weights or binding a port. Errors name the option or
// file.
absl::Status CheckConfig(const Config& config);

// Whether the system lets the daemon have the threads and addresses that it may come to take. REQUIRES:
// CheckConfig was OK.
absl::Status CheckSystem(const Config& config);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_PREFLIGHT_H_
