// The catalogue of adapters: which names there are, where each of them stands, and which generation of it
// serves.
#ifndef HYDRAD_SERVER_ADAPTERS_STORE_CATALOGUE_H_
#define HYDRAD_SERVER_ADAPTERS_STORE_CATALOGUE_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "server/adapters/handle.h"  // AdapterGeneration
#include "server/adapters/info.h"
#include "server/adapters/store/backoff.h"
#include "server/adapters/store/residency.h"
#include "server/base/clock.h"

namespace hydrad {

// INVALID_ARGUMENT unless IsAdapterName (server/base/names.h).
absl::Status CheckAdapterName(const std::string& name);

// One load of a name. It serves until it is replaced, and goes when nobody holds it any more.
struct Generation {
  uint64_t number = 0;
  std::vector<ComponentId> components;                   // of an MoA in TakeApart's order
  int holders = 0;                                       // requests that run on it, and trials
  std::shared_ptr<const AdapterGeneration> on_device{};  // while there are some
  bool serving = true;
  bool tried = false, trying = false;  // its trial (AdapterStoreOptions::try_out) has worked, or is under way
};

// A request's claim on a name. The store's lock guards it; `ended` may be read without.
struct ClaimState {
  std::shared_ptr<AdapterEntry> entry;
  // What its request needs on the device at the same time: this entry, and those of its other claims.
  std::shared_ptr<const std::vector<std::shared_ptr<AdapterEntry>>> together{};
  std::shared_ptr<Generation> bound;  // null while it waits
  absl::Status why;                   // why the request must end, when `ended`
  std::atomic<bool> ended = false;
};

// One name, from its first load until it is gone. The atomics may be read without the store's lock.
struct AdapterEntry {
  explicit AdapterEntry(std::string n) : name(std::move(n)) { info.name = name; }

  const std::string name;
  AdapterInfo info;                        // its `state` is the entry's; its `handles` is not kept up
  bool loading = false, changing = false;  // a load, or another change, is under way
  std::shared_ptr<Generation> serving;     // set in AVAILABLE and UNLOADING
  std::set<ClaimState*> claims;
  int waiting = 0;     // of the claims, those that are neither bound nor ended
  int components = 0;  // of any generation or load, whose memory is not back yet
  Backoff backoff;     // of bringing it to the device
  std::optional<TimePoint> fetch_begun;
  std::atomic<bool> ready = false;    // what serves is on the device, and requests may run on it
  std::atomic<bool> blocked = false;  // it is not there, and only what is held or kept is in its way
  std::atomic<bool> kept = false;     // see DeviceRoom
};

// The state machine of names, and of claims on them, without threads, disk or device. Not thread-safe: the
// store calls it under its lock.
//
//   (none) -BeginLoad-> LOADING -Publish-> AVAILABLE -BeginUnload-> UNLOADING -Gone-> UNLOADED (none)
//                       |     ^            |  |    ^
//                FailLoad     BeginLoad    |  BeginLoad, then Publish or FailLoad: a replace
//                       v     |            |
//                       FAILED <-FailServing   FAILED -BeginUnload-> UNLOADED (none)
class Catalogue {
 public:
  using EntryPtr = std::shared_ptr<AdapterEntry>;

  explicit Catalogue(size_t max_adapters) : max_adapters_(max_adapters) {}

  // Whether a change of `name` may begin: ABORTED while another one is under way; for a load,
  // RESOURCE_EXHAUSTED for a new name beyond the largest number of adapters; for anything else NOT_FOUND.
  absl::Status MayLoad(const std::string& name) const;
  absl::Status MayChange(const std::string& name) const;
  // A load of `name` begins. REQUIRES: MayLoad.
  EntryPtr BeginLoad(const std::string& name, const std::string& path);
  // The load succeeded: `generation` serves from now on, described by `info`. Returns what served before, or
  // null. REQUIRES: a load of it is under way; the number is above those of the name before.
  std::shared_ptr<Generation> Publish(AdapterEntry& entry, std::shared_ptr<Generation> generation,
                                      AdapterInfo info);
  // The load failed. What served before goes on serving.
  void FailLoad(AdapterEntry& entry, absl::Status error, double seconds);
  // What serves cannot be fetched. `for_good`: it does not serve any more, and is returned.
  std::shared_ptr<Generation> FailServing(AdapterEntry& entry, absl::Status error, bool for_good);
  // From a journal: the name serves, with the generation that `info` tells.
  EntryPtr Restore(const AdapterInfo& info);
  // The name takes no new handles. True: its load had failed, and it is gone at once. Else it is gone with
  // Gone. REQUIRES: MayChange.
  bool BeginUnload(AdapterEntry& entry);
  void Gone(AdapterEntry& entry);
  // What serves is at another tier now, or is pinned or not.
  void Moved(AdapterEntry& entry, Tier tier, AdapterChange change);
  void SetPinned(AdapterEntry& entry, bool pinned);

  // Numbers ascend over all names.
  uint64_t NextGeneration() { return ++last_generation_; }
  void SkipGenerations(uint64_t up_to) { last_generation_ = std::max(last_generation_, up_to); }

  // Null if there is no such name.
  EntryPtr Find(const std::string& name) const;
  // The entry of an adapter that serves. NOT_FOUND, UNAVAILABLE (loading or unloading), FAILED_PRECONDITION
  // (it failed).
  absl::StatusOr<EntryPtr> Serving(const std::string& name) const;

  absl::StatusOr<AdapterInfo> Get(const std::string& name) const;
  std::vector<AdapterInfo> List() const;  // by name
  static AdapterInfo Snapshot(const AdapterEntry& entry);
  const std::map<std::string, EntryPtr>& entries() const { return entries_; }

  // Ends a claim: its request must end, for `why`. Nothing for one that has ended.
  void EndClaim(ClaimState& claim, const absl::Status& why);
  // Ends the claims on a name that are not bound, or all of them.
  void EndWaiting(AdapterEntry& entry, const absl::Status& why);
  void EndClaims(AdapterEntry& entry, const absl::Status& why);
  // What requests read of their claims may have changed: they are to be woken.
  void WakeRequests() { wake_ = true; }
  // Whether they are to be, since the last call.
  bool TakeWake() { return std::exchange(wake_, false); }

  // The changes since the last call, in order.
  std::vector<AdapterEvent> TakeEvents() { return std::exchange(events_, {}); }
  // Forgets every name, without events.
  void Clear() { entries_.clear(); }

 private:
  // The only place where a state changes. REQUIRES: `to` follows the entry's state in the picture above.
  void Transition(AdapterEntry& entry, AdapterState to, AdapterChange change);

  const size_t max_adapters_;
  std::map<std::string, EntryPtr> entries_;
  std::vector<AdapterEvent> events_;
  uint64_t last_generation_ = 0;
  bool wake_ = false;
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_ADAPTERS_STORE_CATALOGUE_H_
