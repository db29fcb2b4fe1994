// The inside of the adapter store, over several .cc files: adapter_store.cc (the door, claims, events),
// store_loads.cc and store_changes.cc (what operators ask for), store_records.cc (what survives a restart),
// store_room.cc (what fits),
// store_fetches.cc (what requests wait for, and what goes), store_trials.cc (what serves for the first time).
#ifndef HYDRAD_SERVER_ADAPTERS_STORE_STORE_IMPL_H_
#define HYDRAD_SERVER_ADAPTERS_STORE_STORE_IMPL_H_

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "server/adapters/formats/disk.h"
#include "server/adapters/store/adapter_store.h"
#include "server/adapters/store/catalogue.h"
#include "server/adapters/store/executor.h"
#include "server/adapters/store/host_component.h"
#include "server/adapters/store/journal.h"
#include "server/adapters/store/residency.h"
#include "server/base/mutex.h"

namespace hydrad {

// Shared by the store and by all claims: the last one may go after the store in a program that breaks the
// destructor's REQUIRES. Work is done in steps: a look or a change under `mu`, then the disk or the device
// without it, then a change again; whatever a change leaves to be done without the lock (memory to give back,
// events, callbacks) is done by Settle.
struct AdapterStore::Impl : std::enable_shared_from_this<Impl> {
  class Claim;
  using EntryPtr = Catalogue::EntryPtr;

  // A load, or the validation of one.
  struct LoadJob {
    std::string name, path;
    ChangeOptions options;
    Done done;
    bool validate = false;     // and no more than that
    EntryPtr entry = nullptr;  // null: nothing is to be registered
    TimePoint begin{};
    ComponentId reading = 0;  // what is charged for it, from its beginning until it has been read
    // Once it has been read: what the generation will consist of; and of it what is not part of the one that
    // serves, and what is, and kept on the device meanwhile.
    std::vector<ComponentInfo> infos{};
    std::vector<ComponentId> components{}, added{}, held{};
    bool tried = false;  // on the device
  };
  using JobPtr = std::shared_ptr<LoadJob>;

  Impl(AdapterStoreOptions options, Backend& backend, const ModelConfig& model, const Clock& clock,
       Parts parts);

  // adapter_store.cc
  absl::StatusOr<std::vector<AdapterHandle>> Acquire(const std::vector<std::string>& names);
  AdapterHandle Claimed(const EntryPtr& entry, std::shared_ptr<const std::vector<EntryPtr>> together)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu);
  std::shared_ptr<const AdapterGeneration> Bind(ClaimState& claim);
  void Unbind(ClaimState& claim);
  std::shared_ptr<const AdapterGeneration> Assemble(const std::string& name, uint64_t number,
                                                    const std::vector<Residency::DeviceCopy>& copies) const;
  // Keeps a generation on the device for one request more or less. REQUIRES: it is there.
  void Hold(const std::string& name, Generation& generation) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu);
  void Release(Generation& generation) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu);
  void Release(ClaimState& claim);
  void Want(std::vector<std::string> names);
  void Shutdown();
  // Sends the catalogue's events to the watchers. Events leave the catalogue and reach the watchers under
  // event_mu, so their order is that of the changes, whoever delivers them; when this returns, those of the
  // caller's own changes have been delivered. Never call it with a lock held.
  void DeliverEvents();
  void DeliverEventsLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(event_mu);
  // Gives memory back, then delivers events, then tells who waited for either. What the caller's own changes
  // left over is done when this returns. Never call it with a lock held.
  void Settle();
  void CollectGarbage();

  // store_records.cc
  void Restore(const JournalState& state);
  // The answer to a change that was made already under its request id.
  std::optional<absl::StatusOr<AdapterInfo>> Repeated(const ChangeOptions& change, const std::string& what,
                                                      const std::string& name) const;
  absl::StatusOr<bool> WasAnswered(const std::string& id, const std::string& what) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu);
  // Makes a change durable. Waits for the disk.
  absl::Status Record(JournalRecord record, const std::string& request_id, AnsweredRequest answered);
  // Runs `commit`, which waits for the disk if there is a journal, where that harms nobody.
  void Commit(const std::function<void()>& commit);

  // store_loads.cc
  void StartLoad(JobPtr job);
  // On loader threads.
  void RunLoad(const JobPtr& job);
  absl::StatusOr<bool> ReserveForReading(const JobPtr& job);
  absl::StatusOr<AdapterInfo> ReadAndPublish(LoadJob& job);
  absl::StatusOr<std::vector<ReadComponent>> Read(const LoadJob& job, AdapterInfo* info);
  // Takes from what serves what it has already; of the rest, reads what is left into its place.
  absl::Status Place(LoadJob& job, std::vector<ReadComponent> components);
  void Share(LoadJob& job, std::vector<ReadComponent>& components) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu);
  ComponentId FindServing(const LoadJob& job, const ComponentInfo& info) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu);
  absl::Status FillHost(LoadJob& job, std::vector<ReadComponent>& components, Residency::Evicted* evicted)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu);
  absl::Status PutOnDevice(ComponentId component);
  absl::Status RecordLoad(LoadJob& job, AdapterInfo* info);
  AdapterInfo Publish(const LoadJob& job, AdapterInfo info) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu);
  void EndLoad(LoadJob& job) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu);
  void FinishLoad(const JobPtr& job, const absl::StatusOr<AdapterInfo>& result);

  // store_changes.cc
  void Unload(const std::string& name, const Done& done, const ChangeOptions& change);
  // An unload that has been asked for, until its end.
  struct UnloadUnderWay {
    std::vector<Done> waiting{};
    bool force = false;
  };
  // One that is to begin, or to join one that has.
  struct UnloadJob {
    EntryPtr entry{};
    Done done{};
    ChangeOptions change{};
    bool joins = false;
  };
  absl::StatusOr<UnloadJob> StartUnload(const std::string& name, const ChangeOptions& change, bool only_join)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu);
  void CommitUnload(const UnloadJob& job);
  void BeginUnload(const UnloadJob& job) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu);
  // False: what it would have joined is over.
  bool JoinUnload(const UnloadJob& job) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu);
  void EndClaims(const EntryPtr& entry) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu);
  void ForgetPin(const EntryPtr& entry) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu);
  void Pin(const std::string& name, bool pinned, const Done& done, const ChangeOptions& change);
  void CommitPin(const EntryPtr& entry, bool pinned, const Done& done, const ChangeOptions& change);
  absl::StatusOr<EntryPtr> EntryToChange(const std::string& name, const ChangeOptions& change)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu);

  // store_room.cc
  uint64_t DeviceBytesOf(const AdapterEntry& entry) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu);
  // RESOURCE_EXHAUSTED with the bytes, reason NO_ROOM, when what serves of these can never be on the device
  // at once, beside what is pinned.
  absl::Status CheckRoom(const std::vector<EntryPtr>& together) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu);
  // The same when `entry`, of `bytes`, cannot be pinned beside the others that are.
  absl::Status CheckPinsFit(const EntryPtr& entry, uint64_t bytes) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu);
  // After a change of what is pinned or of what is known of sizes: ends the requests that wait for what
  // cannot be.
  void LookAtRoom() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu);
  // Of the pinned adapters, keeps as many as fit together.
  void KeepPinned() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu);
  void Keep(const EntryPtr& entry, bool keep) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu);
  void WarnOfKeptOut() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu);

  // store_fetches.cc
  void KickPump() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu);
  // On fetch threads.
  void Pump();
  void ResumeParked();
  void RunFetch(Residency::Work work);
  absl::Status ReadAgain(ComponentId component);
  absl::Status Upload(ComponentId component);
  void TryPinnedAgain();
  void RefreshWanted() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu);
  void NoteBlocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu);
  void FetchFailed(ComponentId component, const absl::Status& status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu);
  // What requests are told that may be made again.
  static absl::Status NotNow(const std::string& name, const absl::Status& why);
  void FailServing(const EntryPtr& entry, const absl::Status& status, bool forever)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu);
  // Brings entries up to what has been moved.
  void ApplyMoves() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu);
  void UpdateTier(AdapterEntry& entry, bool evicted) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu);
  Tier TierOf(const Generation& generation) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu);
  void End(ClaimState& claim, const absl::Status& why) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu);
  // Lets go of a generation that serves no more, if nobody is bound to it.
  void DropIfUnused(const Generation& generation) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu);
  // Its unload is over: who waits for it is to be told.
  void UnloadIsOver(const EntryPtr& entry) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu);
  // The last words on a name that was unloading, if nothing is left of it.
  void FinishUnload(const EntryPtr& entry) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu);

  // store_trials.cc
  bool OnDevice(const std::vector<ComponentId>& components) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu);
  // Whether requests may be bound to it: it is on the device and, if that is asked for, has been tried.
  bool MayRun(const Generation& generation) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu);
  absl::Status TryLoaded(LoadJob& job);
  // Has what serves tried if it is on the device and has not been. REQUIRES: something serves.
  void TryIfNew(const EntryPtr& entry) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu);
  void RunTrial(const EntryPtr& entry, const std::shared_ptr<Generation>& generation);

  // Constant.
  const AdapterStoreOptions options;
  const std::unique_ptr<Disk> disk;
  Backend& backend;
  const AdapterShape shape;
  const Clock& clock;
  const std::unique_ptr<Journal> journal;  // thread-safe; may be null

  // Order: settle_mu, event_mu, mu; waker_mu is taken alone.
  Mutex settle_mu;  // held while memory is given back, so that it is when Settle returns
  Mutex event_mu;
  std::map<uint64_t, Event> watchers ABSL_GUARDED_BY(event_mu);
  uint64_t last_watcher ABSL_GUARDED_BY(event_mu) = 0;
  Mutex waker_mu;
  std::function<void()> waker ABSL_GUARDED_BY(waker_mu);

  mutable Mutex mu;
  Catalogue catalogue ABSL_GUARDED_BY(mu);
  Residency residency ABSL_GUARDED_BY(mu);
  std::vector<std::string> wanted ABSL_GUARDED_BY(mu);  // as told by Want
  std::vector<std::string> fresh ABSL_GUARDED_BY(mu);   // acquired since
  std::set<EntryPtr> kept ABSL_GUARDED_BY(mu);          // pinned by operators, as far as they fit together
  bool room_changed ABSL_GUARDED_BY(mu) = false;        // since LookAtRoom
  std::set<EntryPtr> blocked ABSL_GUARDED_BY(mu);
  std::vector<JobPtr> parked ABSL_GUARDED_BY(mu);  // loads that wait for host memory
  std::map<EntryPtr, UnloadUnderWay> unloads ABSL_GUARDED_BY(mu);
  std::vector<std::pair<Done, AdapterInfo>> unloaded ABSL_GUARDED_BY(mu);  // to be told
  JournalState answered ABSL_GUARDED_BY(mu);  // only the requests of it are kept up
  bool wake ABSL_GUARDED_BY(mu) = false;      // the waker is to be called
  bool pump_queued ABSL_GUARDED_BY(mu) = false;
  bool stopping ABSL_GUARDED_BY(mu) = false;

  // Last: their threads use the rest.
  const std::unique_ptr<Executor> loads, fetches;
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_ADAPTERS_STORE_STORE_IMPL_H_
