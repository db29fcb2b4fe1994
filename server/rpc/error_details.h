// What a client can act on beside a code and a text: the details of google.rpc, carried as payloads of
// absl::Status from the room that knows them to the front end that sends them.
#ifndef HYDRAD_SERVER_RPC_ERROR_DETAILS_H_
#define HYDRAD_SERVER_RPC_ERROR_DETAILS_H_

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "server/base/clock.h"
#include "server/base/status.h"

namespace hydrad {

// Payloads are keyed by these type URLs and hold the serialized message, as google.protobuf.Any does.
inline constexpr std::string_view kErrorInfoType = "type.googleapis.com/google.rpc.ErrorInfo";
inline constexpr std::string_view kBadRequestType = "type.googleapis.com/google.rpc.BadRequest";
inline constexpr std::string_view kRetryInfoType = "type.googleapis.com/google.rpc.RetryInfo";
inline constexpr std::string_view kErrorDomain = "hydrad";

// `status` with an ErrorInfo: `reason` is UPPER_SNAKE_CASE and part of the API, as are the keys of
// `metadata`. An OK status stays as it is; so it does below.
absl::Status WithReason(absl::Status status, std::string_view reason,
                        const std::map<std::string, std::string>& metadata = {});

// `status` with a RetryInfo: it is worth trying again after `delay`.
absl::Status WithRetry(absl::Status status, Duration delay);

// One thing wrong with one field, named by its path: "sampling.top_p", "stopping.stop[3]".
struct FieldViolation {
  std::string field;
  std::string description;  // continues the field's name: "must be in (0, 1]"
};

// INVALID_ARGUMENT with reason INVALID_FIELD and a BadRequest of all violations; OK when there are none. The
// text holds the first and the number of the others.
absl::Status BadFields(const std::vector<FieldViolation>& violations);

// The reason of the status's ErrorInfo, or the one that another room gave it (Because), or one made from its
// code ("NOT_FOUND").
std::string ReasonOf(const absl::Status& status);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_RPC_ERROR_DETAILS_H_
