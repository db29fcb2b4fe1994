// Operators on values, after Python's.
#ifndef HYDRAD_SERVER_TEXT_JINJA_PYTHON_OPERATORS_H_
#define HYDRAD_SERVER_TEXT_JINJA_PYTHON_OPERATORS_H_

#include <absl/status/statusor.h>

#include <string_view>

#include "server/text/jinja/template_callable.h"

namespace hydrad::jinja {

// left op right, for + - * / // % **. Errors: operands that do not fit, a division by zero, an integer of
// more than 64 bits.
absl::StatusOr<Value> Arithmetic(Runtime* runtime, std::string_view op, const Value& left,
                                 const Value& right);
// -value or +value.
absl::StatusOr<Value> Signed(const Value& value, bool negative);

// left op right, for == != < <= > >= in, and "not in".
absl::StatusOr<bool> Compare(Runtime* runtime, std::string_view op, const Value& left, const Value& right);
absl::StatusOr<bool> Equal(Runtime* runtime, const Value& left, const Value& right);
absl::StatusOr<bool> Less(Runtime* runtime, const Value& left, const Value& right);
absl::StatusOr<bool> Contains(Runtime* runtime, const Value& container, const Value& item);

}  // namespace hydrad::jinja

#endif  // HYDRAD_SERVER_TEXT_JINJA_PYTHON_OPERATORS_H_
