// Errors of a rendering.
#ifndef HYDRAD_SERVER_TEXT_JINJA_TEMPLATE_ERROR_H_
#define HYDRAD_SERVER_TEXT_JINJA_TEMPLATE_ERROR_H_

#include <absl/status/status.h>

#include <string_view>

namespace hydrad::jinja {

// The error of raise_exception: its text is the template's own, and no line is put before it.
absl::Status RaisedError(std::string_view message);
// Puts "line N: " before the text of an error that has no line yet.
absl::Status AtLine(absl::Status error, int line);

}  // namespace hydrad::jinja

#endif  // HYDRAD_SERVER_TEXT_JINJA_TEMPLATE_ERROR_H_
