// What the errors of a device are to the rest of the program: a Status with one of two reasons. Which error
// is which, the backend knows.
#ifndef HYDRAD_SERVER_BACKEND_DEVICE_ERRORS_H_
#define HYDRAD_SERVER_BACKEND_DEVICE_ERRORS_H_

#include "server/base/reason.h"

namespace hydrad {

// The step or the load failed; those that come after it may well succeed. INTERNAL.
inline constexpr char kDeviceError[] = "DEVICE_ERROR";
// Nothing that this process does on the device will succeed again: another process may have better luck, as
// may another replica. UNAVAILABLE.
inline constexpr char kDeviceLost[] = "DEVICE_LOST";

inline bool IsDeviceLost(const absl::Status& status) { return ReasonGiven(status) == kDeviceLost; }

}  // namespace hydrad

#endif  // HYDRAD_SERVER_BACKEND_DEVICE_ERRORS_H_
