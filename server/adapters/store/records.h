// What the store writes down: the changes that survive a restart, and the answers under request ids.
#ifndef HYDRAD_SERVER_ADAPTERS_STORE_RECORDS_H_
#define HYDRAD_SERVER_ADAPTERS_STORE_RECORDS_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "server/adapters/store/executor.h"
#include "server/adapters/store/journal.h"
#include "server/adapters/store/store_state.h"
#include "server/base/mutex.h"

namespace hydrad {

// A client that does not know whether its change was made asks again under the same request id, and gets the
// answer of the first time; the latest kMostAnswered ids are remembered. With a journal that holds over a
// restart, as do the wanted adapters. Thread-safe.
class Records {
 public:
  // `journal` may be null: a restart forgets everything. `executor`, which must outlive this, is where
  // changes wait for the disk.
  Records(std::unique_ptr<Journal> journal, Executor& executor);

  // What was there at the start; null without a journal.
  const JournalState* opened() const { return journal_ == nullptr ? nullptr : &journal_->opened(); }

  // The answer under `id`, if the change that `what` tells of has been made; nullopt if it has not (and for
  // an id of ""). INVALID_ARGUMENT when the id stands for another change.
  absl::StatusOr<std::optional<AnsweredRequest>> Find(const std::string& id, const std::string& what) const;

  // Makes a change durable, and `request` its answer if that has an id. Waits for the disk, if there is a
  // journal. Errors as Journal::Append's.
  absl::Status Record(JournalRecord record, const AnsweredRequest& request);

  // Runs `change`, which calls Record, where waiting for the disk holds nobody up: at once without a journal.
  void Run(const std::function<void()>& change);

 private:
  const std::unique_ptr<Journal> journal_;  // thread-safe
  Executor& executor_;
  mutable Mutex mu_;                            // taken alone
  JournalState answered_ ABSL_GUARDED_BY(mu_);  // only the requests of it are kept up
};

// The answer to the change of adapter `name` that `what` tells of, if it has been made already under `id`:
// how the adapter stands now. nullopt: it has not been made.
std::optional<absl::StatusOr<AdapterInfo>> AnsweredBefore(const Records& records, const StoreState& state,
                                                          const std::string& id, const std::string& what,
                                                          const std::string& name);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_ADAPTERS_STORE_RECORDS_H_
