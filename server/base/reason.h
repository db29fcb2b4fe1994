// A status with its reason in one word, which the room that knows it attaches and the front end tells the
// client.
#ifndef HYDRAD_SERVER_BASE_REASON_H_
#define HYDRAD_SERVER_BASE_REASON_H_

#include <absl/status/status.h>

#include <optional>
#include <string>
#include <utility>

namespace hydrad {

inline constexpr char kReasonPayload[] = "hydrad/reason";

// Returns `status` with a reason in UPPER_SNAKE_CASE, which is part of the API. An OK status stays as it is.
inline absl::Status Because(absl::Status status, const std::string& reason) {
  status.SetPayload(kReasonPayload, absl::Cord(reason));
  return status;
}

// Returns the reason that Because attached, if any.
inline std::optional<std::string> ReasonGiven(const absl::Status& status) {
  const auto payload = status.GetPayload(kReasonPayload);
  if (!payload) return std::nullopt;
  return std::string(*payload);
}

}  // namespace hydrad

#endif  // HYDRAD_SERVER_BASE_REASON_H_
