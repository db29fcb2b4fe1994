// JSON from files that people write, read strictly.
#ifndef HYDRAD_SERVER_BASE_JSON_H_
#define HYDRAD_SERVER_BASE_JSON_H_

#include <absl/status/statusor.h>
#include <nlohmann/json.hpp>
#include <string_view>

namespace hydrad {

// Objects keep the order of their keys in the file.
using Json = nlohmann::ordered_json;

// Parses the whole of `text` as one value, and throws nothing. Errors are INVALID_ARGUMENT: for what is not
// JSON, with the byte where it ends to be or what it is instead (foreign_content.h); for a key that stands
// twice in one object, because readers would differ in which one counts; and for nesting deeper than 32.
// Callers check the type of a value before they take it out: nlohmann's accessors throw.
absl::StatusOr<Json> ParseJson(std::string_view text);

// Returns the value of `key` in an object, or null where there is none.
const Json& Field(const Json& object, const char* key);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_BASE_JSON_H_
