// Errors of the world (a bad request, a broken file, a full queue) are absl::Status values whose text names
// the field, file or adapter. Broken invariants of the program are CHECKs (check.h), which abort.
//
// This header makes statuses, invalid_argument.h the one that refuses input, and status_macros.h passes them
// on. All three are for .cc files: a header that names a Status includes Abseil's own.
#ifndef HYDRAD_SERVER_BASE_STATUS_H_
#define HYDRAD_SERVER_BASE_STATUS_H_

#include <absl/status/status.h>
#include <fmt/core.h>

#include <utility>

namespace hydrad {

// Status makers with fmt text: NotFound("adapter '{}' is not registered", name).
template <class... Args>
absl::Status MakeStatus(absl::StatusCode code, fmt::format_string<Args...> text, Args&&... args) {
  return absl::Status(code, fmt::format(text, std::forward<Args>(args)...));
}

#define HYDRAD_STATUS_MAKER(Name, code)                                                    \
  template <class... Args>                                                                 \
  absl::Status Name(fmt::format_string<Args...> text, Args&&... args) {                    \
    return MakeStatus<Args...>(absl::StatusCode::code, text, std::forward<Args>(args)...); \
  }
HYDRAD_STATUS_MAKER(NotFound, kNotFound)
HYDRAD_STATUS_MAKER(AlreadyExists, kAlreadyExists)
HYDRAD_STATUS_MAKER(PermissionDenied, kPermissionDenied)
HYDRAD_STATUS_MAKER(Unauthenticated, kUnauthenticated)
HYDRAD_STATUS_MAKER(ResourceExhausted, kResourceExhausted)
HYDRAD_STATUS_MAKER(FailedPrecondition, kFailedPrecondition)
HYDRAD_STATUS_MAKER(Aborted, kAborted)
HYDRAD_STATUS_MAKER(Unavailable, kUnavailable)
HYDRAD_STATUS_MAKER(DeadlineExceeded, kDeadlineExceeded)
HYDRAD_STATUS_MAKER(Cancelled, kCancelled)
HYDRAD_STATUS_MAKER(DataLoss, kDataLoss)
HYDRAD_STATUS_MAKER(Unimplemented, kUnimplemented)
HYDRAD_STATUS_MAKER(Internal, kInternal)
#undef HYDRAD_STATUS_MAKER

}  // namespace hydrad

#endif  // HYDRAD_SERVER_BASE_STATUS_H_
