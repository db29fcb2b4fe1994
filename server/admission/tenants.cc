// The tenants file.
#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>
#include <type_traits>

#include "server/admission/admission.h"
#include "server/base/file.h"
#include "server/base/invalid_argument.h"
#include "server/base/json.h"
#include "server/base/names.h"
#include "server/base/status_macros.h"

namespace hydrad {
namespace {

bool IsHash(std::string_view hash) {
  return hash.size() == 64 &&
         std::ranges::all_of(hash, [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

// Reads strings that all pass `test`.
absl::Status Read(const Json& value, bool (*test)(std::string_view), std::string_view what,
                  std::vector<std::string>* out) {
  if (!value.is_array()) return InvalidArgument("must be a list of strings");
  for (const Json& item : value) {
    if (!item.is_string() || !test(item.get_ref<const std::string&>())) {
      return InvalidArgument("item {} is not {}", out->size(), what);
    }
    out->push_back(item.get<std::string>());
  }
  return absl::OkStatus();
}

// Reads a number in [low, high], or 0 where that is allowed and stands for "no limit".
template <class T>
absl::Status Read(const Json& value, double low, double high, bool zero, T* out) {
  const bool fits = std::is_integral_v<T> ? value.is_number_integer() : value.is_number();
  const double number = fits ? value.get<double>() : std::numeric_limits<double>::quiet_NaN();
  if (!((number >= low && number <= high) || (zero && number == 0))) {
    return InvalidArgument("must be {}{} from {:g} to {:g}", zero ? "0 or " : "",
                           std::is_integral_v<T> ? "an integer" : "a number", low, high);
  }
  *out = static_cast<T>(number);
  return absl::OkStatus();
}

absl::Status ReadField(const std::string& key, const Json& value, TenantConfig* tenant) {
  if (key == "name") return absl::OkStatus();  // read first, for the errors of the others
  if (key == "key_sha256") {
    return Read(value, IsHash, "a SHA-256 in 64 lower-case hex digits", &tenant->key_sha256);
  }
  if (key == "adapters") {
    return Read(value, IsAdapterPattern, "an adapter name, with '*' only at its end", &tenant->adapters);
  }
  if (key == "base_model") {
    if (!value.is_boolean()) return InvalidArgument("must be true or false");
    tenant->base_model = value.get<bool>();
    return absl::OkStatus();
  }
  if (key == "max_concurrent") return Read(value, 1, 1e6, true, &tenant->max_concurrent);
  if (key == "requests_per_second") return Read(value, 1e-3, 1e6, true, &tenant->requests_per_second);
  if (key == "burst") return Read(value, 1, 1e6, false, &tenant->burst);
  if (key == "weight") return Read(value, 1e-3, 1e3, false, &tenant->weight);
  if (key == "prefix_group") {
    if (!value.is_string() || !IsTenantName(value.get_ref<const std::string&>())) {
      return InvalidArgument("must be 1 to 128 of a-z A-Z 0-9 . _ -, not starting with '.'");
    }
    tenant->prefix_group = value.get<std::string>();
    return absl::OkStatus();
  }
  return InvalidArgument("is not known");
}

absl::StatusOr<TenantConfig> ReadTenant(const Json& json, size_t index) {
  const std::string place = fmt::format("tenant {}", index);
  if (!json.is_object()) return InvalidArgument("{}: must be an object", place);
  const auto name = json.find("name");
  if (name == json.end() || !name->is_string() || !IsTenantName(name->get_ref<const std::string&>())) {
    return InvalidArgument("{}: field 'name': {}", place, kTenantNameRule);
  }
  TenantConfig tenant{.name = name->get<std::string>()};
  for (const auto& [key, value] : json.items()) {
    RETURN_IF_ERROR(
        Annotate(ReadField(key, value, &tenant), fmt::format("tenant '{}': field '{}'", tenant.name, key)));
  }
  if (tenant.key_sha256.empty()) {
    return InvalidArgument("tenant '{}': field 'key_sha256': at least one hash is needed", tenant.name);
  }
  return tenant;
}

// Checks that names and hashes stand for one tenant each.
absl::Status CheckUnique(const std::vector<TenantConfig>& tenants) {
  std::set<std::string_view> names, hashes;
  for (const TenantConfig& tenant : tenants) {
    if (!names.insert(tenant.name).second) {
      return InvalidArgument("tenant '{}': field 'name': stands twice", tenant.name);
    }
    for (const std::string& hash : tenant.key_sha256) {
      if (hashes.insert(hash).second) continue;
      return InvalidArgument("tenant '{}': field 'key_sha256': {}... stands twice", tenant.name,
                             hash.substr(0, 8));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::vector<TenantConfig>> ParseTenants(std::string_view json) {
  ASSIGN_OR_RETURN(const Json file, ParseJson(json));
  const auto list = file.is_object() ? file.find("tenants") : file.end();
  if (!file.is_object() || file.size() != 1 || list == file.end() || !list->is_array() || list->empty()) {
    return InvalidArgument("must be an object whose one key 'tenants' holds a list of at least one tenant");
  }
  std::vector<TenantConfig> tenants;
  for (const Json& item : *list) {
    ASSIGN_OR_RETURN(TenantConfig tenant, ReadTenant(item, tenants.size()));
    tenants.push_back(std::move(tenant));
  }
  RETURN_IF_ERROR(CheckUnique(tenants));
  return tenants;
}

absl::StatusOr<std::vector<TenantConfig>> LoadTenants(const std::string& path) {
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  auto tenants = ParseTenants(text);
  if (!tenants.ok()) return Annotate(tenants.status(), path);
  return tenants;
}

}  // namespace hydrad
