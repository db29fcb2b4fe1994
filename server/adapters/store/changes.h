// What operators ask of adapters that are there: unload, pin.
#ifndef HYDRAD_SERVER_ADAPTERS_STORE_CHANGES_H_
#define HYDRAD_SERVER_ADAPTERS_STORE_CHANGES_H_

#include <absl/status/statusor.h>

#include <string>

#include "server/adapters/store/adapter_store.h"
#include "server/adapters/store/fetcher.h"
#include "server/adapters/store/notifier.h"
#include "server/adapters/store/records.h"
#include "server/adapters/store/store_state.h"

namespace hydrad {

// A change is checked, then recorded, then made; while it is recorded, no other change of the name may begin,
// except that unloads join an unload. A change that cannot be recorded is not made. Thread-safe; nothing
// waits: with a journal, recording is done on an executor's thread.
class Changes {
 public:
  // All must outlive this.
  Changes(StoreState& state, Notifier& notifier, Records& records, Fetcher& fetcher)
      : state_(state), notifier_(notifier), records_(records), fetcher_(fetcher) {}

  // As AdapterStore's.
  void Unload(const std::string& name, const AdapterStore::Done& done, const ChangeOptions& change);
  void Pin(const std::string& name, bool pinned, const AdapterStore::Done& done, const ChangeOptions& change);

 private:
  using EntryPtr = Catalogue::EntryPtr;

  // An unload that is to begin, or to join one that is under way.
  struct UnloadRequest {
    EntryPtr entry{};
    AdapterStore::Done done{};
    ChangeOptions change{};
    bool joins = false;
  };

  // The entry of `name`, if a change of it may begin and what serves has the digest that the change asks for.
  absl::StatusOr<EntryPtr> FindToChange(const std::string& name, const ChangeOptions& change)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(state_.mu);
  // Checks an unload. From then on until it is made, other unloads may join it, and no other change may
  // begin. `only_join`: NOT_FOUND if none is under way.
  absl::StatusOr<UnloadRequest> AskForUnload(const std::string& name, const ChangeOptions& change,
                                             bool only_join) ABSL_EXCLUSIVE_LOCKS_REQUIRED(state_.mu);
  // Waits for the disk, makes the unload and answers those that it ends.
  void RecordUnload(const UnloadRequest& request);
  // Makes, joins or gives up an unload, as it has been recorded or not; returns those whose unload is over.
  std::vector<AdapterStore::Done> MakeUnload(const UnloadRequest& request, bool recorded)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(state_.mu);
  // The same three steps for a pin.
  absl::StatusOr<EntryPtr> AskForPin(const std::string& name, bool pinned, const ChangeOptions& change);
  void RecordPin(const EntryPtr& entry, bool pinned, const AdapterStore::Done& done,
                 const ChangeOptions& change);
  void MakePin(const EntryPtr& entry, bool pinned) ABSL_EXCLUSIVE_LOCKS_REQUIRED(state_.mu);

  StoreState& state_;
  Notifier& notifier_;
  Records& records_;
  Fetcher& fetcher_;
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_ADAPTERS_STORE_CHANGES_H_
