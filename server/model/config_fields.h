// The fields of config.json, read one by one.
#ifndef HYDRAD_SERVER_MODEL_CONFIG_FIELDS_H_
#define HYDRAD_SERVER_MODEL_CONFIG_FIELDS_H_

#include <absl/status/status.h>

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>

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

  // An integer from `low` to `high`.
  int Int(const char* name, int64_t low, int64_t high);
  int IntOr(const char* name, int64_t low, int64_t high, int otherwise);
  bool BoolOr(const char* name, bool otherwise);
  // A number above 0 and at most `high`.
  double PositiveOr(const char* name, double high, double otherwise);
  std::string StringOr(const char* name, const std::string& otherwise);

  // Makes this the error, unless there is one already.
  void Fail(const char* name, std::string_view what);
  const absl::Status& status() const { return status_; }

 private:
  std::string file_, path_;
  const Json& object_;
  absl::Status status_;
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_MODEL_CONFIG_FIELDS_H_
