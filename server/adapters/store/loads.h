// The loads that operators ask for: from a directory to a generation that serves.
#ifndef HYDRAD_SERVER_ADAPTERS_STORE_LOADS_H_
#define HYDRAD_SERVER_ADAPTERS_STORE_LOADS_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <memory>
#include <string>
#include <vector>

#include "server/adapters/store/adapter_reader.h"
#include "server/adapters/store/adapter_store.h"
#include "server/adapters/store/component_mover.h"
#include "server/adapters/store/executor.h"
#include "server/adapters/store/fetcher.h"
#include "server/adapters/store/notifier.h"
#include "server/adapters/store/records.h"
#include "server/adapters/store/store_state.h"

namespace hydrad {

// A load reserves host memory, reads and checks the files, takes from the generation that serves the
// components that it has already, brings the rest to the device as far as there is room, tries it, records
// it, and then replaces what serves. When any of that fails, what served goes on serving. A load that finds
// no host memory waits, and begins anew when some may have come free. Thread-safe.
class Loads {
 public:
  // What the loads work on and with. All must outlive this.
  struct Rooms {
    StoreState& state;
    Notifier& notifier;
    Records& records;
    Fetcher& fetcher;
    ComponentMover& mover;
    const AdapterReader& reader;
    Executor& executor;  // whose threads run the loads
    const AdapterStoreOptions& options;
  };

  explicit Loads(const Rooms& rooms) : rooms_(rooms), state_(rooms.state) {}

  // As AdapterStore::Load; with `validate` as ValidateOnly.
  void Start(const std::string& name, const std::string& path, AdapterStore::Done done, ChangeOptions change,
             bool validate);
  // Begins the loads anew that wait for host memory.
  void Resume();
  // Ends the loads that wait for host memory with CANCELLED.
  void CancelWaiting();

 private:
  // A load, or the validation of one.
  struct Job {
    std::string name, path;
    ChangeOptions change;
    AdapterStore::Done done;
    bool validate = false;                // and no more than that
    Catalogue::EntryPtr entry = nullptr;  // null: nothing is to be registered
    TimePoint begin{};
    ComponentId reading = 0;  // what is charged for it, from its beginning until it has been read
    // Once it has been read: what the generation will consist of; and of it what is not part of the one that
    // serves, and what is, and is held on the device meanwhile.
    std::vector<ComponentInfo> infos{};
    std::vector<ComponentId> components{}, added{}, held{};
    bool tried = false;  // on the device
  };
  using JobPtr = std::shared_ptr<Job>;

  // Registers a job and has it run; an error: it may not begin.
  absl::Status Begin(const JobPtr& job);

  // The steps of a load, on the executor's threads, in this order. What a step has taken it leaves in the
  // job; Finish gives back whatever is there, however the load ends.
  void Run(const JobPtr& job);
  // Reserves the most that reading may take. False: there is no room now, and the job waits.
  absl::StatusOr<bool> ReserveForReading(const JobPtr& job);
  absl::StatusOr<AdapterInfo> ReadAndPublish(Job& job);
  // Takes from what serves the components that it has already, and puts the others in memory.
  absl::Status Place(Job& job, std::vector<LoadedComponent> loaded);
  void Share(Job& job, std::vector<LoadedComponent>& loaded) ABSL_EXCLUSIVE_LOCKS_REQUIRED(state_.mu);
  ComponentId FindServing(const Job& job, const ComponentInfo& info) ABSL_EXCLUSIVE_LOCKS_REQUIRED(state_.mu);
  absl::Status FillHost(Job& job, std::vector<LoadedComponent>& loaded, Residency::Evicted* evicted)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(state_.mu);
  // Uploads a component if the device has room for it without throwing out what anybody wants.
  absl::Status UploadIfRoom(ComponentId component);
  // Has the generation tried, if it is on the device and its content is new.
  absl::Status Try(Job& job);
  // Gives the generation its number, and makes the load durable.
  absl::Status Record(Job& job, AdapterInfo* info);
  // Lets the generation serve from now on.
  AdapterInfo Publish(const Job& job, AdapterInfo info) ABSL_EXCLUSIVE_LOCKS_REQUIRED(state_.mu);
  void ReleaseAll(Job& job) ABSL_EXCLUSIVE_LOCKS_REQUIRED(state_.mu);
  // Ends a load, well or not, and answers it.
  void Finish(const JobPtr& job, const absl::StatusOr<AdapterInfo>& result);
  std::vector<JobPtr> TakeWaiting();

  const Rooms rooms_;
  StoreState& state_;
  std::vector<JobPtr> waiting_ ABSL_GUARDED_BY(state_.mu);  // for host memory
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_ADAPTERS_STORE_LOADS_H_
