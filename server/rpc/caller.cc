#include "server/rpc/caller.h"

#include <strings.h>

#include <algorithm>
#include <chrono>

#include "server/front/error_details.h"

namespace hydrad {
namespace {

absl::StatusOr<std::string> KeyOf(const grpc::CallbackServerContext& context) {
  const auto [begin, end] = context.client_metadata().equal_range("authorization");
  if (begin == end) return std::string();
  if (std::next(begin) != end) return Unauthenticated("more than one authorization entry");
  return BearerKey({begin->second.data(), begin->second.size()});
}

std::optional<TimePoint> DeadlineOf(const grpc::CallbackServerContext& context, const Clock& clock) {
  return DeadlineAfter(gpr_time_sub(context.raw_deadline(), gpr_now(context.raw_deadline().clock_type)),
                       clock);
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

std::optional<TimePoint> DeadlineAfter(gpr_timespec left, const Clock& clock) {
  constexpr int64_t kYear = 365 * 24 * 3600;
  if (left.tv_sec > kYear) return std::nullopt;
  const int64_t seconds = std::max(left.tv_sec, -kYear);
  return clock.Now() + std::chrono::seconds(seconds) + std::chrono::nanoseconds(left.tv_nsec);
}

absl::Status CancelStatus(const std::optional<TimePoint>& deadline, const Clock& clock) {
  if (deadline && clock.Now() >= *deadline) return DeadlineExceeded("the call's deadline has passed");
  return Cancelled("the client cancelled the call");
}

}  // namespace hydrad
