// How a reader refuses what a stranger wrote: a request, a file, a flag. It stands apart from status.h,
// because most of the files that make a status make only this one.
#ifndef HYDRAD_SERVER_BASE_INVALID_ARGUMENT_H_
#define HYDRAD_SERVER_BASE_INVALID_ARGUMENT_H_

#include <absl/status/status.h>
#include <fmt/core.h>

#include <utility>

namespace hydrad {

// INVALID_ARGUMENT with fmt text that names the field: InvalidArgument("{}: 'r' must be positive", file).
template <class... Args>
absl::Status InvalidArgument(fmt::format_string<Args...> text, Args&&... args) {
  return absl::Status(absl::StatusCode::kInvalidArgument, fmt::format(text, std::forward<Args>(args)...));
}

}  // namespace hydrad

#endif  // HYDRAD_SERVER_BASE_INVALID_ARGUMENT_H_
