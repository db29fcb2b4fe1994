// What the system lets this process have: descriptors, threads, addresses. Too little of it is told at start,
// by name, rather than met later where nobody can answer.
#ifndef HYDRAD_SERVER_LIMITS_H_
#define HYDRAD_SERVER_LIMITS_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <cstdint>

namespace hydrad {

// Raises the limit on open files as far as the system allows, and returns it.
int RaiseFileLimit();

// How many connections each listener may have.
struct ConnectionShares {
  int inference = 0, per_peer = 0;  // of each listener
  int admin = 0, admin_per_peer = 0;
};
// What `file_limit` leaves when the daemon's own files have theirs: an eighth, at most 256, for each of the
// `admin_listeners`, the rest for each of the `listeners` of inference alike, and of each at most a quarter
// for one peer. `wanted` and `wanted_per_peer` (0: as many as there are) may lower the two of inference, and
// raise the peer's. FAILED_PRECONDITION, naming what to do, if the limit is too low for that.
absl::StatusOr<ConnectionShares> ShareDescriptors(int file_limit, int listeners, int admin_listeners,
                                                  int wanted, int wanted_per_peer);

// Whether so many threads more can be had: they are started, and end at once. RESOURCE_EXHAUSTED, with what
// was had and what to raise.
absl::Status CheckThreads(int count);

// Whether the limit on the address space, if there is one, leaves `bytes` more. FAILED_PRECONDITION, with
// both numbers.
absl::Status CheckAddressSpace(uint64_t bytes);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_LIMITS_H_
