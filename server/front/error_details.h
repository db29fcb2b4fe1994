// What a client can act on beside a code and a text: a reason, when to try again, which fields are wrong. The
// room that knows them puts them on an absl::Status; the front end that answers reads them off it and says
// them in its protocol's way.
#ifndef HYDRAD_SERVER_FRONT_ERROR_DETAILS_H_
#define HYDRAD_SERVER_FRONT_ERROR_DETAILS_H_

#include <absl/status/status.h>

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "server/base/clock.h"

namespace hydrad {

// `status` with a reason: UPPER_SNAKE_CASE and part of the API, as are the keys of `metadata`. They replace
// those that it had. An OK status stays as it is; so it does below.
absl::Status WithReason(absl::Status status, std::string_view reason,
                        const std::map<std::string, std::string>& metadata = {});

// `status` with the hint that it is worth trying again after `delay`; a delay below 0 is 0.
absl::Status WithRetry(absl::Status status, Duration delay);

// One thing wrong with one field, named by its path in the API of gRPC: "sampling.top_p", "stopping.stop[3]".
struct FieldViolation {
  std::string field;
  std::string description;  // continues the field's name: "must be in (0, 1]"
};

// INVALID_ARGUMENT with reason INVALID_FIELD and all violations; OK when there are none. The text holds the
// first and the number of the others.
absl::Status BadFields(const std::vector<FieldViolation>& violations);

// INVALID_ARGUMENT, as BadFields makes it, of a prompt that leaves no room in the context. Its metadata has
// "max_context".
absl::Status BeyondContext(std::string_view field, size_t tokens, int max_context);

// The reason of WithReason, or the one that another room gave the status (base/reason.h), or one made from
// its code ("NOT_FOUND").
std::string ReasonOf(const absl::Status& status);

// All of the above. An UNAVAILABLE without a hint gets one: it is always worth trying again.
struct ErrorDetails {
  std::string reason;
  std::map<std::string, std::string> metadata;
  std::optional<Duration> retry;
  std::vector<FieldViolation> violations;
};
ErrorDetails DetailsOf(const absl::Status& status);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_FRONT_ERROR_DETAILS_H_
