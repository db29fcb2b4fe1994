#include "server/text/jinja/template_error.h"

#include <fmt/core.h>

#include "server/base/invalid_argument.h"

namespace hydrad::jinja {
namespace {

// Marks an error whose text is complete.
constexpr char kComplete[] = "hydrad/jinja/complete";

}  // namespace

absl::Status RaisedError(std::string_view message) {
  absl::Status error = InvalidArgument("{}", message);
  error.SetPayload(kComplete, absl::Cord());
  return error;
}

absl::Status AtLine(absl::Status error, int line) {
  if (error.GetPayload(kComplete).has_value()) return error;
  return RaisedError(fmt::format("line {}: {}", line, std::string(error.message())));
}

}  // namespace hydrad::jinja
