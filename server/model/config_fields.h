// The fields of config.json, read one by one.
#ifndef HYDRAD_SERVER_MODEL_CONFIG_FIELDS_H_
#define HYDRAD_SERVER_MODEL_CONFIG_FIELDS_H_

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>

#include "server/base/status.h"

namespace hydrad {

// Reads fields of one JSON object and keeps the first error, so that a list of reads needs one check at its
// end. A field that is null counts as absent where nothing else is said.
class ConfigFields {
 public:
  using Json = nlohmann::json;

  // `object` must outlive this. Its fields are named with `path` before them.
  ConfigFields(std::string file, const Json& object, std::string path = "")
      : file_(std::move(file)), path_(std::move(path)), object_(object) {}

  bool Has(const char* name) const { return object_.contains(name) && !object_[name].is_null(); }
  // Whether the field is there, perhaps as null.
  bool Given(const char* name) const { return object_.contains(name); }
  // REQUIRES: Has.
  const Json& operator[](const char* name) const { return object_[name]; }

  int Int(const char* name, int64_t low, int64_t high) {
    if (!Has(name)) return Fail(name, "is missing"), 0;
    const Json& value = object_[name];
    if (!value.is_number_integer()) return Fail(name, "is not an integer"), 0;
    const bool huge = value.is_number_unsigned() && value.get<uint64_t>() > static_cast<uint64_t>(high);
    if (huge || value.get<int64_t>() < low || value.get<int64_t>() > high) {
      return Fail(name, fmt::format("is not within {} to {}", low, high)), 0;
    }
    return value.get<int>();
  }
  int IntOr(const char* name, int64_t low, int64_t high, int otherwise) {
    return Has(name) ? Int(name, low, high) : otherwise;
  }
  bool BoolOr(const char* name, bool otherwise) {
    if (!Has(name)) return otherwise;
    if (!object_[name].is_boolean()) return Fail(name, "is not true or false"), otherwise;
    return object_[name].get<bool>();
  }
  // A number above 0 and at most `high`.
  double PositiveOr(const char* name, double high, double otherwise) {
    if (!Has(name)) return otherwise;
    const Json& value = object_[name];
    const double number = value.is_number() ? value.get<double>() : 0;
    if (!(number > 0 && number <= high))
      return Fail(name, fmt::format("is not within 0 to {}", high)), otherwise;
    return number;
  }
  std::string StringOr(const char* name, const std::string& otherwise) {
    if (!Has(name)) return otherwise;
    if (!object_[name].is_string()) return Fail(name, "is not a string"), otherwise;
    return object_[name].get<std::string>();
  }

  void Fail(const char* name, std::string_view what) {
    if (status_.ok()) status_ = InvalidArgument("{}: {}{} {}", file_, path_, name, what);
  }
  const absl::Status& status() const { return status_; }

 private:
  std::string file_, path_;
  const Json& object_;
  absl::Status status_;
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_MODEL_CONFIG_FIELDS_H_
