// Who calls, and a call that was let in.
#ifndef HYDRAD_SERVER_FRONT_CALLER_H_
#define HYDRAD_SERVER_FRONT_CALLER_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "server/base/clock.h"
#include "server/front/cancel_point.h"

namespace hydrad {

// What the transport knows of the caller.
struct Caller {
  absl::StatusOr<std::string> key;    // bearer key, "" when none was sent
  std::string peer;                   // for the audit log
  std::optional<TimePoint> deadline;  // of the call
};

// Returns KEY of "Bearer KEY" (the scheme in any case); UNAUTHENTICATED for anything else.
absl::StatusOr<std::string> BearerKey(std::string_view authorization);

// The status with which a call ends that its client gave up, or whose time ran out.
absl::Status CancelStatus(const std::optional<TimePoint>& deadline, const Clock& clock);

// Whose request it is, as the key has told.
struct Asker {
  std::string tenant;
  double weight = 1;          // its share under load, beside those of the other tenants
  std::string cache_group{};  // Ticket::cache_group
};

// A call that was let in, as it goes from thread to thread. `cancel` is shared with the transport, which
// tells it when the client goes away; whoever does the work at the time hears of it there.
struct EnteredCall {
  Caller caller;
  Asker asker;
  std::shared_ptr<CancelPoint> cancel = std::make_shared<CancelPoint>();
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_FRONT_CALLER_H_
