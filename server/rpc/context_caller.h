// Who calls (front/caller.h), read from what gRPC knows about a call.
#ifndef HYDRAD_SERVER_RPC_CONTEXT_CALLER_H_
#define HYDRAD_SERVER_RPC_CONTEXT_CALLER_H_

#include <grpc/support/time.h>
#include <grpcpp/server_context.h>

#include <optional>

#include "server/front/caller.h"

namespace hydrad {

// The caller of `context`: its key from the metadata entry "authorization" (one at most), its peer, and its
// deadline on `clock`.
Caller CallerOf(const grpc::CallbackServerContext& context, const Clock& clock);

// The deadline of a call that has this much time left. None beyond a year, which is as good: a client may
// name so many hours that they fit no time of the system.
std::optional<TimePoint> DeadlineAfter(gpr_timespec left, const Clock& clock);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_RPC_CONTEXT_CALLER_H_
