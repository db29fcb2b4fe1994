#include "server/model/config_fields.h"

#include <fmt/core.h>

#include "server/base/invalid_argument.h"

namespace hydrad {

int ConfigFields::Int(const char* name, int64_t low, int64_t high) {
  if (!Has(name)) return Fail(name, "is missing"), 0;
  const Json& value = object_[name];
  if (!value.is_number_integer()) return Fail(name, "is not an integer"), 0;
  const bool huge = value.is_number_unsigned() && value.get<uint64_t>() > static_cast<uint64_t>(high);
  if (huge || value.get<int64_t>() < low || value.get<int64_t>() > high) {
    return Fail(name, fmt::format("is not within {} to {}", low, high)), 0;
  }
  return value.get<int>();
}

int ConfigFields::IntOr(const char* name, int64_t low, int64_t high, int otherwise) {
  return Has(name) ? Int(name, low, high) : otherwise;
}

bool ConfigFields::BoolOr(const char* name, bool otherwise) {
  if (!Has(name)) return otherwise;
  if (!object_[name].is_boolean()) return Fail(name, "is not true or false"), otherwise;
  return object_[name].get<bool>();
}

double ConfigFields::PositiveOr(const char* name, double high, double otherwise) {
  if (!Has(name)) return otherwise;
  const Json& value = object_[name];
  const double number = value.is_number() ? value.get<double>() : 0;
  if (!(number > 0 && number <= high))
    return Fail(name, fmt::format("is not within 0 to {}", high)), otherwise;
  return number;
}

std::string ConfigFields::StringOr(const char* name, const std::string& otherwise) {
  if (!Has(name)) return otherwise;
  if (!object_[name].is_string()) return Fail(name, "is not a string"), otherwise;
  return object_[name].get<std::string>();
}

void ConfigFields::Fail(const char* name, std::string_view what) {
  if (status_.ok()) status_ = InvalidArgument("{}: {}{} {}", file_, path_, name, what);
}

}  // namespace hydrad
