// What the adapter store knows, under its one lock.
#ifndef HYDRAD_SERVER_ADAPTERS_STORE_STORE_STATE_H_
#define HYDRAD_SERVER_ADAPTERS_STORE_STORE_STATE_H_

#include <string>

#include "server/adapters/store/adapter_store.h"
#include "server/adapters/store/catalogue.h"
#include "server/adapters/store/device_room.h"
#include "server/adapters/store/fetch_queue.h"
#include "server/adapters/store/generations.h"
#include "server/adapters/store/journal.h"
#include "server/adapters/store/residency.h"
#include "server/adapters/store/unloads.h"
#include "server/base/clock.h"
#include "server/base/mutex.h"

namespace hydrad {

// The classes that do the store's work (Claims, Changes, Loads, Fetcher, Notifier) share this. They work in
// steps: a look or a change under `mu`, then the disk or the device without it, then a change again.
// Notifier::Settle does what a change leaves to be done without the lock (memory to give back, events,
// callbacks).
//
// The members under the lock are not thread-safe and know nothing of it. Each builds on those before it.
// Nothing of the store is locked while `mu` is held, but jobs may be posted to its executors.
struct StoreState {
  // `layers` are the base model's. `clock` must outlive this.
  StoreState(const AdapterStoreOptions& options, int layers, const Clock& c)
      : clock(c),
        base_tokenizer(options.base_tokenizer),
        catalogue(options.max_adapters),
        residency(options.host_bytes, options.device_bytes, options.fetch_threads),
        generations(catalogue, residency, c, layers, /*must_be_tried=*/options.try_out != nullptr),
        room(catalogue, residency, generations),
        fetch_queue(catalogue, residency, generations, room, c),
        unloads(catalogue, generations, room) {}

  // The adapters that were wanted when a journal was written: AVAILABLE, and not read yet; FAILED, where
  // their tokens do not go with the base model's any more.
  void Restore(const JournalState& state) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu);
  void RestoreTokens(const Catalogue::EntryPtr& entry) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu);
  // What serves `entry` cannot be brought to the device, for `status`: the requests that wait for it are told
  // so, and it is tried again later, or FAILED if it cannot be had again (`for_good`).
  void FailServing(const Catalogue::EntryPtr& entry, const absl::Status& status, bool for_good)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu);

  const Clock& clock;
  const std::shared_ptr<const Tokenizer> base_tokenizer;  // or null
  mutable Mutex mu;
  Catalogue catalogue ABSL_GUARDED_BY(mu);
  Residency residency ABSL_GUARDED_BY(mu);
  Generations generations ABSL_GUARDED_BY(mu);
  DeviceRoom room ABSL_GUARDED_BY(mu);
  FetchQueue fetch_queue ABSL_GUARDED_BY(mu);
  Unloads unloads ABSL_GUARDED_BY(mu);
  bool stopping ABSL_GUARDED_BY(mu) = false;
};

// What a request is told whose adapter cannot be had now, for `why`, and which may be made again.
absl::Status NotReady(const std::string& name, const absl::Status& why);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_ADAPTERS_STORE_STORE_STATE_H_
