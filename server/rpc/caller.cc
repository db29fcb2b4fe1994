#include "server/rpc/caller.h"

#include <strings.h>

#include <chrono>

#include "server/rpc/error_details.h"

namespace hydrad {
namespace {

absl::StatusOr<std::string> KeyOf(const grpc::CallbackServerContext& context) {
  const auto [begin, end] = context.client_metadata().equal_range("authorization");
  if (begin == end) return std::string();
  if (std::next(begin) != end) return Unauthenticated("more than one authorization entry");
  return BearerKey({begin->second.data(), begin->second.size()});
}

std::optional<TimePoint> DeadlineOf(const grpc::CallbackServerContext& context, const Clock& clock) {
  const std::chrono::system_clock::time_point deadline = context.deadline();
  // A call without one has the largest time there is; a year is as good, and adding to it cannot overflow.
  const auto left = deadline - std::chrono::system_clock::now();
  if (left > std::chrono::hours(24 * 365)) return std::nullopt;
  return clock.Now() + std::chrono::duration_cast<Duration>(left);
}

}  // namespace

absl::StatusOr<std::string> BearerKey(std::string_view authorization) {
  constexpr std::string_view kScheme = "Bearer ";
  if (authorization.size() <= kScheme.size() ||
      strncasecmp(authorization.data(), kScheme.data(), kScheme.size()) != 0) {
    return Unauthenticated("the authorization entry is not 'Bearer KEY'");
  }
  return std::string(authorization.substr(kScheme.size()));
}

Caller CallerOf(const grpc::CallbackServerContext& context, const Clock& clock) {
  return {.key = KeyOf(context), .peer = context.peer(), .deadline = DeadlineOf(context, clock)};
}

absl::Status CancelStatus(const std::optional<TimePoint>& deadline, const Clock& clock) {
  if (deadline && clock.Now() >= *deadline) return DeadlineExceeded("the call's deadline has passed");
  return Cancelled("the client cancelled the call");
}

}  // namespace hydrad
