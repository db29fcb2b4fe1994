// Which adapters fit on the device together: those that operators have pinned, and what a request needs
// beside them. What cannot fit is refused, rather than left to wait.
#ifndef HYDRAD_SERVER_ADAPTERS_STORE_DEVICE_ROOM_H_
#define HYDRAD_SERVER_ADAPTERS_STORE_DEVICE_ROOM_H_

#include <absl/status/status.h>

#include <cstdint>
#include <set>
#include <vector>

#include "server/adapters/store/catalogue.h"
#include "server/adapters/store/generations.h"
#include "server/adapters/store/residency.h"

namespace hydrad {

// A pin is an operator's wish. An adapter is *kept* when it is pinned, serves, and fits beside the others
// that are kept; kept adapters are never thrown out of the device. What an adapter takes may be unknown until
// it has been read, so a pin that was granted may turn out not to fit.
//
// Not thread-safe: the store calls it under its lock.
class DeviceRoom {
 public:
  using EntryPtr = Catalogue::EntryPtr;

  // All three must outlive this.
  DeviceRoom(Catalogue& catalogue, Residency& residency, const Generations& generations)
      : catalogue_(catalogue), residency_(residency), generations_(generations) {}

  // RESOURCE_EXHAUSTED with the bytes, reason NO_ROOM, when what serves of `together` can never be on the
  // device at once beside what is kept, or when one of them can never be read.
  absl::Status CheckFits(const std::vector<EntryPtr>& together) const;
  // The same when `entry`, of `bytes`, cannot be pinned beside the others that are kept.
  absl::Status CheckPinFits(const EntryPtr& entry, uint64_t bytes) const;

  // `entry` is kept from now on, or not any more.
  void Keep(const EntryPtr& entry, bool keep);
  // It is not kept any more, which leaves room for others.
  void StopKeeping(const EntryPtr& entry) {
    changed_ = true;
    Keep(entry, false);
  }
  const std::set<EntryPtr>& kept() const { return kept_; }

  // What is pinned, or what is known of sizes, has changed.
  void NoteChange() { changed_ = true; }
  // After a change: keeps as many of the pinned adapters as fit, and ends the claims that wait for what
  // cannot fit. False if nothing has changed since the last call.
  bool Recheck();
  // Logs how much the kept adapters leave to others, if any other does not fit beside them.
  void WarnOfRefused() const;

 private:
  void KeepWhatFits();
  uint64_t KeptBytes() const;

  Catalogue& catalogue_;
  Residency& residency_;
  const Generations& generations_;
  std::set<EntryPtr> kept_;
  bool changed_ = false;  // since Recheck
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_ADAPTERS_STORE_DEVICE_ROOM_H_
