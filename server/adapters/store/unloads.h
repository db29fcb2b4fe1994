// The unloads that are under way, and who waits for their end.
#ifndef HYDRAD_SERVER_ADAPTERS_STORE_UNLOADS_H_
#define HYDRAD_SERVER_ADAPTERS_STORE_UNLOADS_H_

#include <map>
#include <utility>
#include <vector>

#include "server/adapters/store/adapter_store.h"
#include "server/adapters/store/catalogue.h"
#include "server/adapters/store/device_room.h"
#include "server/adapters/store/generations.h"

namespace hydrad {

// An unload is asked for, then recorded, then it begins, and it is over when the last handle has gone and the
// memory is back. Others may join it from its asking to its end: all end with it, and a force of one of them
// counts for all.
//
// Not thread-safe: the store calls it under its lock.
class Unloads {
 public:
  using Done = AdapterStore::Done;
  using EntryPtr = Catalogue::EntryPtr;

  // All three must outlive this.
  Unloads(Catalogue& catalogue, Generations& generations, DeviceRoom& room)
      : catalogue_(catalogue), generations_(generations), room_(room) {}

  bool UnderWay(const EntryPtr& entry) const { return under_way_.contains(entry); }
  // It is being recorded; no other change of the name may begin. REQUIRES: none of it is under way.
  void Ask(const EntryPtr& entry);
  // It could not be recorded, and nothing has changed. Returns who had joined it.
  std::vector<Done> Abandon(const EntryPtr& entry);
  // It has been recorded: no new handles from now on. `done` waits for its end.
  void Begin(const EntryPtr& entry, Done done, bool force);
  // `done` waits for its end. False: none is under way (any more).
  bool Join(const EntryPtr& entry, Done done, bool force);
  // Ends the unload of `entry` if it has begun and nothing is left of the name. To be called whenever a
  // handle or memory of it has gone.
  void FinishIfUnused(const EntryPtr& entry);

  // Who waits for unloads that are over since the last call, with what to tell them.
  std::vector<std::pair<Done, AdapterInfo>> TakeOver() { return std::exchange(over_, {}); }

 private:
  struct UnderWayUnload {
    std::vector<Done> waiting{};
    bool force = false;
  };
  void Over(const EntryPtr& entry);

  Catalogue& catalogue_;
  Generations& generations_;
  DeviceRoom& room_;
  std::map<EntryPtr, UnderWayUnload> under_way_;
  std::vector<std::pair<Done, AdapterInfo>> over_;
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_ADAPTERS_STORE_UNLOADS_H_
