#include "server/adapters/formats/adapter_fields.h"

#include "server/base/invalid_argument.h"

namespace hydrad {

absl::Status BadField(std::string_view field, std::string_view reason) {
  return InvalidArgument("field '{}': {}", field, reason);
}

bool IsOn(const Json& value) {
  if (value.is_boolean()) return value.get<bool>();
  if (value.is_number()) return value.get<double>() != 0;
  if (value.is_string()) return value != "";
  return !value.empty();  // null, [] and {} are empty
}

absl::Status ReadInt(const Json& config, const char* field, int max, int* out) {
  const Json& value = Field(config, field);
  // Compared as double: no integer of the file wraps.
  const double number = value.is_number_integer() ? value.get<double>() : 0;
  if (!(number >= 1 && number <= max)) {
    return InvalidArgument("field '{}': must be an integer from 1 to {}", field, max);
  }
  *out = static_cast<int>(number);
  return absl::OkStatus();
}

absl::Status ReadFlag(const Json& config, const char* field, bool* out) {
  const Json& value = Field(config, field);
  if (!value.is_null() && !value.is_boolean()) return BadField(field, "must be true or false");
  *out = value == true;
  return absl::OkStatus();
}

}  // namespace hydrad
