// What the readers of adapter_config.json share: single fields, and how a bad one is refused.
#ifndef HYDRAD_SERVER_ADAPTERS_FORMATS_ADAPTER_FIELDS_H_
#define HYDRAD_SERVER_ADAPTERS_FORMATS_ADAPTER_FIELDS_H_

#include <absl/status/status.h>

#include <string_view>

#include "server/base/json.h"

namespace hydrad {

// INVALID_ARGUMENT "field 'r': must be ...".
absl::Status BadField(std::string_view field, std::string_view reason);

// Returns whether a value switches a feature on, as PEFT reads it: neither null, false, 0, "" nor an empty
// list or object.
bool IsOn(const Json& value);

// Reads an integer from 1 to `max` into `out`. INVALID_ARGUMENT where it is missing, of another type or out
// of range.
absl::Status ReadInt(const Json& config, const char* field, int max, int* out);

// Reads a flag that may be left out, which is false. INVALID_ARGUMENT where it is neither true nor false.
absl::Status ReadFlag(const Json& config, const char* field, bool* out);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_ADAPTERS_FORMATS_ADAPTER_FIELDS_H_
