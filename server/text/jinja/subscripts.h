// What a value has inside: its elements, attributes, methods and slices.
#ifndef HYDRAD_SERVER_TEXT_JINJA_SUBSCRIPTS_H_
#define HYDRAD_SERVER_TEXT_JINJA_SUBSCRIPTS_H_

#include <absl/status/statusor.h>

#include <string_view>

#include "server/text/jinja/template_callable.h"

namespace hydrad::jinja {

// value.name: a method or attribute of the value's type, else the element of that key, else undefined. An
// error only for an undefined value. REQUIRES: `name` is a string.
absl::StatusOr<Value> GetAttribute(Runtime* runtime, const Value& value, const Value& name);
// value[key]: the element of that key or place, else a method or attribute, else undefined.
absl::StatusOr<Value> GetElement(Runtime* runtime, const Value& value, const Value& key);
// What the type of the value has by that name; undefined if nothing. `known`: Python's type has such a name,
// which then hides an element of the same key.
absl::StatusOr<Value> GetTypeAttribute(Runtime* runtime, const Value& value, std::string_view name,
                                       bool* known);
// value[begin:end:step]; each of them may be None. Errors as in Python.
absl::StatusOr<Value> GetSlice(Runtime* runtime, const Value& value, const Value& begin, const Value& end,
                               const Value& step);

// Calls a macro, a method, a function or a recursive loop. Errors: the value is none of them.
absl::StatusOr<Value> CallValue(Runtime* runtime, const Value& callee, const Arguments& arguments);

}  // namespace hydrad::jinja

#endif  // HYDRAD_SERVER_TEXT_JINJA_SUBSCRIPTS_H_
