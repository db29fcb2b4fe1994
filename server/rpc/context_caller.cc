#include "server/rpc/context_caller.h"

#include <algorithm>
#include <chrono>
#include <string>

#include "server/base/status.h"

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

Caller CallerOf(const grpc::CallbackServerContext& context, const Clock& clock) {
  return {.key = KeyOf(context), .peer = context.peer(), .deadline = DeadlineOf(context, clock)};
}

std::optional<TimePoint> DeadlineAfter(gpr_timespec left, const Clock& clock) {
  constexpr int64_t kYear = 365 * 24 * 3600;
  if (left.tv_sec > kYear) return std::nullopt;
  const int64_t seconds = std::max(left.tv_sec, -kYear);
  return clock.Now() + std::chrono::seconds(seconds) + std::chrono::nanoseconds(left.tv_nsec);
}

}  // namespace hydrad
