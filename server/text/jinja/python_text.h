// What values look like as text: Python's str() and repr().
#ifndef HYDRAD_SERVER_TEXT_JINJA_PYTHON_TEXT_H_
#define HYDRAD_SERVER_TEXT_JINJA_PYTHON_TEXT_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <string>

#include "server/text/jinja/template_callable.h"

namespace hydrad::jinja {

// Appends str(value). Errors: a macro, a method or a generator, whose text in Python is an address.
absl::Status AppendText(Runtime* runtime, const Value& value, TextBuilder* out);
// Appends repr(value).
absl::Status AppendRepr(Runtime* runtime, const Value& value, TextBuilder* out);
// str(value) as a value; a string stays itself.
absl::StatusOr<Value> ToText(Runtime* runtime, const Value& value);

// repr() of a float: the shortest digits that give it again, "1.0", "1e+16", "inf".
std::string FloatRepr(double value);
// Whether repr() writes the character as it is.
bool IsPrintable(uint32_t code_point);

}  // namespace hydrad::jinja

#endif  // HYDRAD_SERVER_TEXT_JINJA_PYTHON_TEXT_H_
