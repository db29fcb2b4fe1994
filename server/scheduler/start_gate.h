// Which waiting requests may start as far as their adapters go, and which adapters are wanted next.
#ifndef HYDRAD_SERVER_SCHEDULER_START_GATE_H_
#define HYDRAD_SERVER_SCHEDULER_START_GATE_H_

#include <climits>
#include <functional>
#include <span>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "server/adapters/handle.h"
#include "server/base/clock.h"

namespace hydrad {

// One adapter that requests wait for or run on.
struct AdapterDemand {
  int running = 0;        // requests that are bound to it
  int waiting = 0;        // requests that are not bound yet
  Duration in_use{};      // since requests have been bound to it without a break
  Duration waited{};      // of the request that has waited longest
  bool ready = false;     // on the device
  bool blocked = false;   // only adapters in use keep it from the device
  bool kept = false;      // pinned by an operator: ending its requests makes no room
  int place = INT_MAX;    // of its most urgent waiting request, among all that wait
  bool draining = false;  // was marked in the last step
};

// Marks the adapters on which no request may start for now, so that they come to their end and make room. For
// each adapter that is blocked and for which a request has waited longer than `patience`, the one that has
// been in use longest is marked, if it has been for at least `patience`. What was marked stays so, also when
// its requests have ended, for as long as one starves that is more urgent: what needs the room of several
// gathers it. So adapters that are always asked for take turns with the others, and those that take part
// serve all their waiting requests at once. A pure function of its arguments.
std::vector<bool> ChooseDraining(std::span<const AdapterDemand> adapters, Duration patience);

// Owned by the scheduler thread. Each step: Begin, then every request with an adapter, then Decide.
class StartGate {
 public:
  // The gate calls this with the names that waiting requests need, most urgent first, when they change. It
  // must not wait.
  using Want = std::function<void(const std::vector<std::string>&)>;
  static constexpr Duration kPatience = std::chrono::milliseconds(250);

  explicit StartGate(Want want, Duration patience = kPatience)
      : want_(std::move(want)), patience_(patience) {}

  void Begin(TimePoint now);
  void AddRunning(const AdapterHandle& handle);
  // Takes a request, in the order in which all would be served if every adapter were there.
  void AddWaiting(const AdapterHandle& handle, TimePoint since);
  void Decide();

  // Returns whether a request on this adapter may start in this step.
  bool MayStart(const AdapterHandle& handle) const;

 private:
  size_t IndexOf(const AdapterHandle& handle);

  const Want want_;
  const Duration patience_;
  TimePoint now_{};
  std::unordered_map<const void*, TimePoint> in_use_since_;
  std::unordered_set<const void*> drained_;  // marked by Decide, as long as any adapter starves
  // Of one step; members only to keep their memory.
  std::unordered_map<const void*, size_t> index_;
  std::vector<AdapterDemand> demands_;
  std::vector<bool> draining_;  // [demands_]
  int places_ = 0;
  std::vector<std::string> names_, wanted_;  // of this step, and what was told last
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_SCHEDULER_START_GATE_H_
