// A tenant for tests.
#ifndef HYDRAD_TESTS_FAKES_TENANT_H_
#define HYDRAD_TESTS_FAKES_TENANT_H_

#include <string>
#include <string_view>

#include "server/admission/admission.h"

namespace hydrad {

// A tenant with one key, which may use every adapter and has no limits.
inline TenantConfig Tenant(std::string_view name, std::string_view key) {
  return {.name = std::string(name), .key_sha256 = {Sha256Hex(key)}, .adapters = {"*"}};
}

}  // namespace hydrad

#endif  // HYDRAD_TESTS_FAKES_TENANT_H_
