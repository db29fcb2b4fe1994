// Who is told of what has changed in the store: watchers, operators whose unload is over, requests that wait.
#ifndef HYDRAD_SERVER_ADAPTERS_STORE_NOTIFIER_H_
#define HYDRAD_SERVER_ADAPTERS_STORE_NOTIFIER_H_

#include <cstdint>
#include <functional>
#include <map>

#include "server/adapters/store/adapter_store.h"
#include "server/adapters/store/store_state.h"
#include "server/base/mutex.h"

namespace hydrad {

// Does without the store's lock what changes under it have left to be done. Thread-safe; no method may be
// called with a lock of the store held.
//
// Locks are taken in this order: memory_mu_, watch_mu_, StoreState::mu.
class Notifier {
 public:
  // `state` must outlive this.
  explicit Notifier(StoreState& state) : state_(state) {}

  // Gives memory back, then delivers events, then tells those who wait for either. What the caller's own
  // changes have left over is done when this returns, whoever does it.
  void Settle();
  // Destroys what has gone from memory, and frees its bytes; finishes the unloads that waited for them.
  void GiveMemoryBack();
  // Delivers the catalogue's events to the watchers. Events leave the catalogue and reach the watchers under
  // one lock, so they come in the order of the changes, whoever delivers them; those of the caller's own
  // changes have been delivered when this returns.
  void DeliverEvents();

  // As AdapterStore's.
  uint64_t AddWatcher(AdapterStore::Event event);
  void RemoveWatcher(uint64_t token);
  void SetWaker(std::function<void()> waker);

 private:
  void DeliverEventsLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(watch_mu_);

  StoreState& state_;
  Mutex memory_mu_;  // is held while memory is given back, so that all of it is when GiveMemoryBack returns
  Mutex watch_mu_;   // guards who is told, and is held while they are
  std::map<uint64_t, AdapterStore::Event> watchers_ ABSL_GUARDED_BY(watch_mu_);
  uint64_t last_watcher_ ABSL_GUARDED_BY(watch_mu_) = 0;
  std::function<void()> waker_ ABSL_GUARDED_BY(watch_mu_);
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_ADAPTERS_STORE_NOTIFIER_H_
