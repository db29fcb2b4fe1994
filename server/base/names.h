// What names look like: the one place that says so. Names are told in logs, in labels of metrics, in the
// journal and between commas; they are never paths of files.
#ifndef HYDRAD_SERVER_BASE_NAMES_H_
#define HYDRAD_SERVER_BASE_NAMES_H_

#include <string_view>

namespace hydrad {

// Returns whether `name` may be a tenant's. kTenantNameRule is the rule, for texts of errors.
bool IsTenantName(std::string_view name);
inline constexpr char kTenantNameRule[] = "must be 1 to 128 of a-z A-Z 0-9 . _ -, not starting with '.'";

// Returns whether `name` may be an adapter's, as people name models: "org/support-bot", "org/support-bot@v2",
// "llama:sql". kAdapterNameRule is the rule, for texts of errors.
bool IsAdapterName(std::string_view name);
inline constexpr char kAdapterNameRule[] =
    "must be 1 to 256 of a-z A-Z 0-9 . _ - + @ : /, and no part between '/' may be empty or start with '.'";

// Returns whether `pattern` is an adapter's name, or the beginning of one and a '*', which stands for any
// rest, with '/' or without.
bool IsAdapterPattern(std::string_view pattern);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_BASE_NAMES_H_
