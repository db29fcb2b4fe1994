// Which tier each component is on (disk, host memory, device), and which component moves next.
#ifndef HYDRAD_SERVER_ADAPTERS_STORE_RESIDENCY_H_
#define HYDRAD_SERVER_ADAPTERS_STORE_RESIDENCY_H_

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "server/adapters/info.h"  // ComponentInfo, Tier
#include "server/adapters/store/byte_cache.h"
#include "server/adapters/store/device_component.h"
#include "server/adapters/store/room_line.h"

namespace hydrad {

struct AdapterEntry;

// A generation consists of one component or several (see ComponentInfo), and several generations of one name
// may share one (an expert that a replace has not touched). 0 is no component.
using ComponentId = uint64_t;

// Accounts for the memory of components and decides what goes and what comes. It moves nothing itself: the
// caller reads files and uploads to the device, and destroys what it is handed. A component is reserved its
// bytes in a tier, then filled. It goes to the device through host memory, where its copy stays as long as
// there is room.
//
// A component is worked on (read or uploaded) by one thread at a time, and its host copy stays meanwhile. Not
// thread-safe: the store calls it under its lock.
class Residency {
 public:
  using HostCopy = std::shared_ptr<const HostComponent>;
  using DeviceCopy = std::shared_ptr<const DeviceComponent>;
  using Owner = std::shared_ptr<AdapterEntry>;
  // The copies that were thrown out. The caller destroys them before it takes the memory that they made room
  // for.
  using Evicted = std::vector<std::shared_ptr<const void>>;

  Residency(uint64_t host_bytes, uint64_t device_bytes, int max_fetches)
      : host_(host_bytes), device_(device_bytes), max_fetches_(max_fetches) {}

  // For a load: the component begins on disk, with work under way, as part of no generation.
  ComponentId Add(Owner owner, ComponentInfo info);
  // Reserves memory for a load. Host memory may be taken from whatever is not worked on: nothing that waits
  // holds up a load. Room on the device is taken from what nobody wants. kLater: there may be room later; for
  // the host, when work that is in the way has ended. kNever: it is more than the tier has.
  enum class Room { kYes, kLater, kNever };
  Room ReserveHost(ComponentId id, uint64_t bytes, Evicted* evicted);
  // The component has been read, or uploaded. False: it took more than was reserved, and there is no room for
  // that now.
  bool FillHost(ComponentId id, ComponentInfo info, HostCopy copy, Evicted* evicted);
  Room ReserveDevice(ComponentId id, Evicted* evicted);
  void FillDevice(ComponentId id, DeviceCopy copy);
  // The work is over, well or not: what was reserved and not filled goes back.
  void EndWork(ComponentId id);

  // From a journal: the component is on disk, all is known of it, and nobody works on it.
  ComponentId AddKnown(Owner owner, ComponentInfo info);

  // One generation more or less consists of the component. It goes with the last of them.
  void Refer(ComponentId id);
  void Unrefer(ComponentId id);
  // Its content is found at `at` from now on, under the name of an expert if it is one.
  void SetPlace(ComponentId id, const ComponentInfo& at) {
    Get(id).info.path = at.path;
    Get(id).info.expert = at.expert;
  }
  void SetGeneration(ComponentId id, uint64_t generation) { Get(id).info.generation = generation; }
  // Kept components are not thrown out of the device.
  void SetKept(ComponentId id, bool kept) { Get(id).kept = kept; }
  // The component stays on the device while it is held, which counts. REQUIRES: it is there.
  DeviceCopy Hold(ComponentId id);
  void Release(ComponentId id) { device_.Release(id); }

  // Tells which components should be on the device, most urgent first; earlier ones may throw out later ones.
  void SetWanted(const std::vector<ComponentId>& components);
  struct Work {
    enum class Kind { kRead, kUpload } kind;
    ComponentId component;
    Evicted evicted;
  };
  // The next thing to do about that: work on the component has begun. nullopt: nothing can be done until work
  // has ended or a component has been released. A component that finds no room lets those behind it go first,
  // as RoomLine says.
  std::optional<Work> Next();
  // The wanted components that only components held, kept or more urgent keep from the device. Holds when
  // Next has answered nullopt.
  const std::set<ComponentId>& blocked() const { return blocked_; }

  // Components that are part of nothing any more. The caller destroys their values, then frees them.
  struct Garbage {
    ComponentId id;
    Owner owner;
    Evicted values;
  };
  std::vector<Garbage> TakeGarbage() { return std::exchange(garbage_, {}); }
  void Free(ComponentId id);

  // The owners of components that have changed their tier since the last call, each once. `evicted`: one of
  // them was moved down to make room.
  struct Move {
    Owner owner;
    bool evicted;
  };
  std::vector<Move> TakeMoves();

  Tier TierOf(ComponentId id) const;
  const ComponentInfo& info(ComponentId id) const { return components_.at(id).info; }
  const Owner& owner(ComponentId id) const { return components_.at(id).owner; }
  HostCopy host_copy(ComponentId id) const { return *host_.Find(id); }
  uint64_t host_used() const { return host_.used(); }
  uint64_t device_used() const { return device_.used(); }
  uint64_t host_capacity() const { return host_.capacity(); }
  uint64_t device_capacity() const { return device_.capacity(); }

 private:
  struct Component {
    Owner owner;
    ComponentInfo info;
    int generations = 0;
    bool working = false, fetching = false;  // fetching: the work came from Next
    bool host_held = false;                  // by the work
    bool kept = false;
    std::optional<size_t> rank;  // its place among the wanted; nullopt: it is not one of them
  };

  Component& Get(ComponentId id) { return components_.at(id); }
  // Wanted components from rank `from` on may be thrown out.
  bool ReserveHostFor(ComponentId id, uint64_t bytes, size_t from, Evicted* evicted);
  bool ReserveDeviceFor(ComponentId id, size_t from, Evicted* evicted);
  // Whether `id` may be thrown out of a tier for a component of rank `from` - 1.
  bool MayLeaveHost(ComponentId id, size_t from) const;
  bool MayLeaveDevice(ComponentId id, size_t from) const;
  // A component has found no room: tells the tier's line so if it is the first.
  void WaitForHost(ComponentId id, uint64_t bytes, size_t rank);
  void WaitForDevice(ComponentId id, size_t rank);
  std::optional<Work> Try(ComponentId id, size_t rank);
  std::optional<Work> TryToRead(ComponentId id, size_t rank);
  Work Begin(Work::Kind kind, ComponentId id, Evicted evicted);
  void CollectIfUnused(ComponentId id, Component& component);
  template <class Copy>
  void Note(std::vector<typename ByteCache<Copy>::Evicted> gone, Evicted* evicted);

  ByteCache<HostCopy> host_;
  ByteCache<DeviceCopy> device_;
  const int max_fetches_;
  int fetches_ = 0;
  ComponentId last_id_ = 0;
  std::unordered_map<ComponentId, Component> components_;
  std::vector<ComponentId> wanted_;
  RoomLine host_line_, device_line_;
  bool host_waits_ = false, device_waits_ = false;  // one has found no room in this search of Next
  std::set<ComponentId> blocked_;
  std::vector<Garbage> garbage_;
  std::map<Owner, bool> moves_;
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_ADAPTERS_STORE_RESIDENCY_H_
