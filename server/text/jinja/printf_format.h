// Python's two ways to put values into a string.
#ifndef HYDRAD_SERVER_TEXT_JINJA_PRINTF_FORMAT_H_
#define HYDRAD_SERVER_TEXT_JINJA_PRINTF_FORMAT_H_

#include <absl/status/statusor.h>

#include "server/text/jinja/template_callable.h"

namespace hydrad::jinja {

// format % values: a tuple, a dict for %(name)s, or a single value.
absl::StatusOr<Value> FormatPercent(Runtime* runtime, const Text& format, const Value& values);

// str.format: {} {0} {name} {0[key]} {name.attribute}, !s and !r, and format specifications of strings,
// integers and floats. Errors name what is not supported.
absl::StatusOr<Value> FormatBraces(Call& call);

}  // namespace hydrad::jinja

#endif  // HYDRAD_SERVER_TEXT_JINJA_PRINTF_FORMAT_H_
