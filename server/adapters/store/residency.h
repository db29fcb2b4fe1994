// Where the weights of adapters are: on disk, in host memory, on the device; and what is moved next.
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
// may share one (an expert that a replace has not touched). Host copies stay while there is room when a
// component is on the device too.
using ComponentId = uint64_t;

// Only accounts and decides: who calls it reads files and copies to the device, and destroys what it hands
// out. Not thread-safe. Work on a component keeps its host copy in place and is done by one thread at a time.
class Residency {
 public:
  using HostCopy = std::shared_ptr<const HostComponent>;
  using DeviceCopy = std::shared_ptr<const DeviceComponent>;
  using Owner = std::shared_ptr<AdapterEntry>;
  // What was thrown out: to be destroyed before the memory is taken that it made room for.
  using Evicted = std::vector<std::shared_ptr<const void>>;

  Residency(uint64_t host_bytes, uint64_t device_bytes, int max_fetches)
      : host_(host_bytes), device_(device_bytes), max_fetches_(max_fetches) {}

  // A load. The component begins on disk, with work under way and part of no generation.
  ComponentId Add(Owner owner, ComponentInfo info);
  // Host memory may be taken from whatever is not worked on: nothing that waits holds up a load. The device
  // is taken from what nobody wants. kLater: for the host, work that is in the way will end.
  enum class Room { kYes, kLater, kNever };
  Room ReserveHost(ComponentId id, uint64_t bytes, Evicted* evicted);
  // The component has been read. False: it took more than was reserved, for which there is no room now.
  bool FillHost(ComponentId id, ComponentInfo info, HostCopy copy, Evicted* evicted);
  Room ReserveDevice(ComponentId id, Evicted* evicted);
  void FillDevice(ComponentId id, DeviceCopy copy);
  // Work is over, well or not: what was reserved and not filled goes back.
  void EndWork(ComponentId id);

  // From a journal: a component of which all is known, on disk, without work.
  ComponentId AddKnown(Owner owner, ComponentInfo info);

  // One generation more or less consists of the component. Without one, it goes.
  void Refer(ComponentId id);
  void Unrefer(ComponentId id);
  // Its content is found there from now on, under the name of an expert if it is one.
  void SetPlace(ComponentId id, const ComponentInfo& at) {
    Get(id).info.path = at.path;
    Get(id).info.expert = at.expert;
  }
  void SetGeneration(ComponentId id, uint64_t generation) { Get(id).info.generation = generation; }
  // Kept components are not thrown out of the device.
  void SetKept(ComponentId id, bool kept) { Get(id).kept = kept; }
  // In use by a request. REQUIRES: on the device.
  DeviceCopy Hold(ComponentId id);
  void Release(ComponentId id) { device_.Release(id); }

  // The components that should be on the device, most urgent first; earlier ones may throw out later ones.
  void SetWanted(const std::vector<ComponentId>& components);
  struct Work {
    enum class Kind { kRead, kUpload } kind;
    ComponentId component;
    Evicted evicted;
  };
  // The next thing to do about it: work on that component has begun. nullopt: nothing can be done now.
  // Whatever ends work or releases a component may change that. One that finds no room lets those behind it
  // go before it as RoomLine says.
  std::optional<Work> Next();
  // The wanted components that only components in use, kept or more urgent keep from the device, when Next
  // has answered nullopt.
  const std::set<ComponentId>& blocked() const { return blocked_; }

  // Components that are part of nothing any more. Their values are to be destroyed, then they are to be
  // freed.
  struct Garbage {
    ComponentId id;
    Owner owner;
    Evicted values;
  };
  std::vector<Garbage> TakeGarbage() { return std::exchange(garbage_, {}); }
  void Free(ComponentId id);

  // Owners of components that have changed their tier since the last call, each once; `evicted`: down, for
  // room.
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
    std::optional<size_t> rank;  // among the wanted
  };

  Component& Get(ComponentId id) { return components_.at(id); }
  // Wanted components from rank `from` on may be thrown out.
  bool ReserveHostFor(ComponentId id, uint64_t bytes, size_t from, Evicted* evicted);
  bool ReserveDeviceFor(ComponentId id, size_t from, Evicted* evicted);
  // What may be thrown out of the host for a component of rank `from` - 1.
  bool MayLeaveHost(ComponentId id, size_t from) const;
  bool MayLeaveDevice(ComponentId id, size_t from) const;
  // No room was found for it: tells the line so if it is the first of its tier.
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
  bool host_waits_ = false, device_waits_ = false;  // in this search of Next, somebody does already
  std::set<ComponentId> blocked_;
  std::vector<Garbage> garbage_;
  std::map<Owner, bool> moves_;
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_ADAPTERS_STORE_RESIDENCY_H_
