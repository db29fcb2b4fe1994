// Who calls, read from what gRPC knows about a call.
#ifndef HYDRAD_SERVER_RPC_CALLER_H_
#define HYDRAD_SERVER_RPC_CALLER_H_

#include <grpc/support/time.h>
#include <grpcpp/server_context.h>

#include <optional>
#include <string>
#include <string_view>

#include "server/rpc/intake.h"

namespace hydrad {

// KEY of "Bearer KEY" (the scheme in any case). UNAUTHENTICATED for anything else.
absl::StatusOr<std::string> BearerKey(std::string_view authorization);

// The caller of `context`: its key from the metadata entry "authorization" (one at most), its peer, and its
// deadline on `clock`.
Caller CallerOf(const grpc::CallbackServerContext& context, const Clock& clock);

// The deadline of a call that has this much time left. None beyond a year, which is as good: a client may
// name so many hours that they fit no time of the system.
std::optional<TimePoint> DeadlineAfter(gpr_timespec left, const Clock& clock);

// How a call that its client gave up, or whose time ran out, ends.
absl::Status CancelStatus(const std::optional<TimePoint>& deadline, const Clock& clock);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_RPC_CALLER_H_
