// The fields of a JSON object, taken out one by one by type.
#ifndef HYDRAD_SERVER_HTTP_BODY_READER_H_
#define HYDRAD_SERVER_HTTP_BODY_READER_H_

#include <absl/status/status.h>

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "server/base/json.h"

namespace hydrad {

// A field that is not there, and one that is null, has no value. One of another type than the one asked for
// has none either, and Finish tells of the first of them. Bounds of numbers are the validator's, but for what
// the program's own types cannot hold. The object must outlive the reader.
class BodyReader {
 public:
  // `prefix` goes before the names of fields in errors ("hydrad."). REQUIRES: `object` is an object.
  explicit BodyReader(const Json& object, std::string prefix = "")
      : object_(object), prefix_(std::move(prefix)) {}

  std::optional<float> Number(const char* name);
  std::optional<int> Integer(const char* name);
  std::optional<int64_t> Long(const char* name);
  std::optional<bool> Bool(const char* name);
  std::optional<std::string> Text(const char* name);
  std::vector<int32_t> Ids(const char* name);
  // A text, or a list of them.
  std::vector<std::string> Texts(const char* name);
  // An object, else null.
  const Json* Object(const char* name);
  // Whatever it is, null where it has no value.
  const Json* Value(const char* name);

  // Fields that change nothing of the answer, and are left unread.
  void Ignore(std::initializer_list<const char*> names);
  // Notes that something is wrong with a field.
  void Fail(std::string_view name, std::string_view description);
  // Finishes the reader of an object inside this one: what is wrong there is wrong here.
  void Finish(BodyReader& inner);
  bool ok() const { return error_.ok(); }

  // OK, or the first thing that is wrong: also that there is a field that nobody has asked for, since what it
  // asks for would not be done.
  absl::Status Finish();

 private:
  const Json& object_;
  const std::string prefix_;
  std::set<std::string, std::less<>> known_;
  absl::Status error_;
};

// Whether `value` is a list of numbers that are ids of tokens by their type, which is filled in.
bool ReadIds(const Json& value, std::vector<int32_t>* ids);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_HTTP_BODY_READER_H_
