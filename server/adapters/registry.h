// The adapters' names and where each of them stands: the state machine, without threads, disk or device.
#ifndef HYDRAD_SERVER_ADAPTERS_REGISTRY_H_
#define HYDRAD_SERVER_ADAPTERS_REGISTRY_H_

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "server/adapters/adapter_store.h"  // AdapterInfo, AdapterState
#include "server/adapters/handle.h"
#include "server/base/status.h"

namespace hydrad {

// [a-zA-Z0-9._-]{1,128}, not starting with '.'; INVALID_ARGUMENT otherwise.
absl::Status CheckAdapterName(const std::string& name);

// Not thread-safe: the store calls it under its lock. It never drops a generation's last pin itself, for that
// runs the store's accounting: pins that are done with are handed to the caller, who lets go of them outside
// of the lock.
//
//   (none) -BeginLoad-> LOADING -Publish-> AVAILABLE -BeginUnload-> UNLOADING -last generation gone->
//   UNLOADED (none)
//                       |     ^            |       ^
//                FailLoad     BeginLoad    BeginLoad, then Publish or FailLoad: a replace
//                       v     |
//                       FAILED -BeginUnload-> UNLOADED (none)
class Registry {
 public:
  using Pin = std::shared_ptr<const AdapterGeneration>;

  explicit Registry(size_t max_adapters) : max_adapters_(max_adapters) {}

  // Whether BeginLoad may be called: ABORTED while a load or unload of the name is under way,
  // RESOURCE_EXHAUSTED for a new name beyond the largest number of adapters.
  absl::Status MayLoad(const std::string& name) const;
  // A load of `name` begins. REQUIRES: MayLoad.
  void BeginLoad(const std::string& name, const std::string& path);
  // It succeeded: `pin` serves from now on, described by `info`. Returns what served before, or null.
  // REQUIRES: a load of it is under way; pin's generation is above all before.
  Pin Publish(const std::string& name, Pin pin, AdapterInfo info);
  // It failed. What served before goes on serving.
  void FailLoad(const std::string& name, absl::Status error, double seconds);

  struct Unload {
    Pin pin;                          // to let go of; GenerationGone will tell when the name is gone
    std::optional<AdapterInfo> gone;  // or the last word on a name whose load had failed: it is gone at once
  };
  // No new handles. NOT_FOUND, or ABORTED while a load or unload is under way.
  absl::StatusOr<Unload> BeginUnload(const std::string& name);
  // The memory of a generation is back. Answers with the last word on the name if it was unloading and this
  // was its last generation: it is gone now.
  std::optional<AdapterInfo> GenerationGone(const std::string& name, uint64_t generation);

  // A pin on what serves, counted in AdapterInfo::handles until it and its copies are gone. NOT_FOUND,
  // UNAVAILABLE (loading or unloading), FAILED_PRECONDITION (its load failed).
  absl::StatusOr<Pin> Acquire(const std::string& name) const;

  absl::StatusOr<AdapterInfo> Get(const std::string& name) const;
  std::vector<AdapterInfo> List() const;  // by name

  // The state changes since the last call, in order. The end of a load is one, so a failed replace is too:
  // AVAILABLE, with `error`.
  std::vector<AdapterInfo> TakeEvents();
  // Forgets every name, without events; returns all pins.
  std::vector<Pin> Clear();

 private:
  struct Entry {
    AdapterInfo info;                // its `state` is the entry's; its `handles` is not kept up
    bool loading = false;            // a load is under way: the first one in LOADING, a replace in AVAILABLE
    Pin serving;                     // set in AVAILABLE
    std::set<uint64_t> generations;  // whose memory is not back yet
    std::shared_ptr<std::atomic<int64_t>> handles = std::make_shared<std::atomic<int64_t>>(0);
  };
  using Entries = std::map<std::string, Entry>;

  Entry& Loading(const std::string& name);
  // The only place where a state changes. REQUIRES: `to` follows the entry's state in the picture above.
  void Transition(Entry& entry, AdapterState to);
  static AdapterInfo Snapshot(const Entry& entry);

  const size_t max_adapters_;
  Entries entries_;
  std::vector<AdapterInfo> events_;
  uint64_t last_generation_ = 0;
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_ADAPTERS_REGISTRY_H_
