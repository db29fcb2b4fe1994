#include "server/front/caller.h"

#include <strings.h>

#include "server/base/status.h"

namespace hydrad {

absl::StatusOr<std::string> BearerKey(std::string_view authorization) {
  constexpr std::string_view kScheme = "Bearer ";
  if (authorization.size() <= kScheme.size() ||
      strncasecmp(authorization.data(), kScheme.data(), kScheme.size()) != 0) {
    return Unauthenticated("the authorization entry is not 'Bearer KEY'");
  }
  return std::string(authorization.substr(kScheme.size()));
}

absl::Status CancelStatus(const std::optional<TimePoint>& deadline, const Clock& clock) {
  if (deadline && clock.Now() >= *deadline) return DeadlineExceeded("the call's deadline has passed");
  return Cancelled("the client cancelled the call");
}

}  // namespace hydrad
