// Which components are brought to the device next, for whom: what operators have pinned, then what requests
// wait for.
#ifndef HYDRAD_SERVER_ADAPTERS_STORE_FETCH_QUEUE_H_
#define HYDRAD_SERVER_ADAPTERS_STORE_FETCH_QUEUE_H_

#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "server/adapters/store/catalogue.h"
#include "server/adapters/store/device_room.h"
#include "server/adapters/store/generations.h"
#include "server/adapters/store/residency.h"
#include "server/base/clock.h"

namespace hydrad {

// Requests tell which names they wait for; the queue tells the residency which components that makes, in
// order, and answers what can be begun. A name is passed over when nobody waits for it any more, and a kept
// adapter as long as its last failure is too fresh (Backoff). What is on the device and has not been tried is
// tried first.
//
// Not thread-safe: the store calls it under its lock.
class FetchQueue {
 public:
  using EntryPtr = Catalogue::EntryPtr;

  // All must outlive this.
  FetchQueue(Catalogue& catalogue, Residency& residency, Generations& generations, DeviceRoom& room,
             const Clock& clock)
      : catalogue_(catalogue), residency_(residency), generations_(generations), room_(room), clock_(clock) {}

  // The names that requests wait for, most urgent first; in place of those of the last call, and of those
  // that have been acquired since.
  void Want(std::vector<std::string> names);
  // A request waits for `name`, behind those that are wanted, until the next Want tells where it stands.
  // Names beyond some hundred wait for that.
  void Acquired(const std::string& name);

  // A generation to be tried, which is held (see Generations::BeginTrial).
  struct Trial {
    EntryPtr entry;
    std::shared_ptr<Generation> generation;
  };
  // What can be begun now.
  struct Step {
    std::vector<Trial> trials;
    std::optional<Residency::Work> fetch;  // nullopt: nothing more, until something changes
  };
  Step Next();

  // Whether a kept adapter that could not be brought to the device is to be tried again.
  bool HasKeptToRetry() const;

 private:
  // Tells the residency what is wanted now, and begins the trials that are needed.
  std::vector<Trial> Refresh();
  // Tells entries, and with them requests, whether only what is held or kept is in their way.
  void NoteBlocked();
  bool Due(const AdapterEntry& entry) const { return entry.backoff.Left(clock_.Now()) == Duration{}; }

  Catalogue& catalogue_;
  Residency& residency_;
  Generations& generations_;
  DeviceRoom& room_;
  const Clock& clock_;
  std::vector<std::string> wanted_, acquired_;
  std::set<EntryPtr> blocked_;  // as their entries tell
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_ADAPTERS_STORE_FETCH_QUEUE_H_
