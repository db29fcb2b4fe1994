// Passes a status on: the two macros that hide control flow, since both return from the function that they
// stand in, and what a caller adds on the way.
#ifndef HYDRAD_SERVER_BASE_STATUS_MACROS_H_
#define HYDRAD_SERVER_BASE_STATUS_MACROS_H_

#include <absl/status/status.h>
#include <fmt/core.h>

#include <string>
#include <string_view>
#include <utility>

namespace hydrad {

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

#endif  // HYDRAD_SERVER_BASE_STATUS_MACROS_H_
