// Errors of the world (a bad request, a broken file, a full queue) are absl::Status values whose text names
// the field, file or adapter. Broken invariants of the program are CHECKs (check.h), which abort.
#ifndef HYDRAD_SERVER_BASE_STATUS_H_
#define HYDRAD_SERVER_BASE_STATUS_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <fmt/format.h>

#include <string>
#include <string_view>
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
HYDRAD_STATUS_MAKER(InvalidArgument, kInvalidArgument)
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

// Returns the same status, reason included, with "where: " before its text, so that an error gathers its path
// on the way up.
inline absl::Status Annotate(const absl::Status& status, std::string_view where) {
  if (status.ok()) return status;
  absl::Status out(status.code(), fmt::format("{}: {}", where, std::string(status.message())));
  status.ForEachPayload([&](auto type, const absl::Cord& payload) { out.SetPayload(type, payload); });
  return out;
}

}  // namespace hydrad

// Returns the status of `expr` from this function if it is an error.
#define RETURN_IF_ERROR(expr)                                         \
  do {                                                                \
    if (absl::Status status_ = (expr); !status_.ok()) return status_; \
  } while (false)

#define HYDRAD_CONCAT_(a, b) a##b
#define HYDRAD_CONCAT(a, b) HYDRAD_CONCAT_(a, b)
// ASSIGN_OR_RETURN(auto x, F()) takes the value of a StatusOr, or returns its error from this function.
#define ASSIGN_OR_RETURN(lhs, expr) ASSIGN_OR_RETURN_(HYDRAD_CONCAT(status_or_, __LINE__), lhs, expr)
#define ASSIGN_OR_RETURN_(tmp, lhs, expr)        \
  auto tmp = (expr);                             \
  if (!tmp.ok()) return std::move(tmp).status(); \
  lhs = *std::move(tmp)

#endif  // HYDRAD_SERVER_BASE_STATUS_H_
