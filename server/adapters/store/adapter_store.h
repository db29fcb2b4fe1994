// The door of the adapters room: from a name to weights on the device and back.
//
// The words of the room, which mean the same in all of its files:
//
//   adapter     a name that an operator has loaded, and all that stands under it
//   contents    what the files of an adapter hold, read and checked (AdapterContents)
//   component   what is read, kept and thrown out as one: a whole adapter, or of an MoA an expert or the
//               routers. A HostComponent is in host memory, a DeviceComponent on the device
//   generation  one load of a name: components, under a number that no other load gets. It serves until the
//               next one does, and goes with the last request that holds it
//   mixture     a generation on the device that picks one of its experts per sequence (MoA)
//   handle      a request's hold on a name, from its arrival to its end; a claim is the store's side of it
//   info        what is told of an adapter; an event tells of a change
//   tier        where a component is: on disk, in host memory, on the device
//
// An operator's load makes a generation of what it reads. A fetch, for requests, moves a component up a tier:
// it is read from the disk, or uploaded to the device. A trial runs a generation once before requests run on
// it. Pinned is an operator's wish; kept is pinned and granted; held is in use by a request, a load or a
// trial.
#ifndef HYDRAD_SERVER_ADAPTERS_STORE_ADAPTER_STORE_H_
#define HYDRAD_SERVER_ADAPTERS_STORE_ADAPTER_STORE_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "server/adapters/handle.h"
#include "server/adapters/info.h"
#include "server/base/clock.h"
#include "server/model/base_weights.h"
#include "server/model/model_config.h"

namespace hydrad {

class Backend;
class Tokenizer;

struct AdapterStoreOptions {
  std::string root{};                    // directory that no path may leave; "" refuses every load
  uint64_t device_bytes = 1ull << 30;    // budget for adapters on the device
  uint64_t host_bytes = 2ull << 30;      // budget for adapters in host memory, those being read included
  int loader_threads = 1;                // that read for operators
  int fetch_threads = 1;                 // that fetch what requests wait for
  bool loaders_in_background = false;    // loader threads run when no other thread wants their core
  size_t max_adapters = 10'000;          // names, whatever their state
  size_t max_queued_loads = 256;         // that wait for a loader thread
  uint64_t max_file_bytes = 4ull << 30;  // largest adapter_model.safetensors
  // The names of the base model: its directory's, its files' and its operator's. An adapter of a model of
  // another name gets a warning. Without any name here, no adapter does.
  std::vector<std::string> base_names{};
  // How conversations with the base model are written; null: nobody knows.
  std::shared_ptr<const ChatFormat> base_chat{};
  // That of the base model; null: adapters have no tokenizers.
  std::shared_ptr<const Tokenizer> base_tokenizer{};
  // The base model's own numbers. Adapters that need them are refused without them (see ReadAdapter).
  std::shared_ptr<const BaseWeights> base{};
  // Makes the trial of a generation, which stays on the device meanwhile. Is called on a loader or fetch
  // thread and may take a while. INVALID_ARGUMENT means that the generation is no good: its load fails, or
  // the adapter is FAILED if it was fetched. Other errors may pass. Null: nothing is tried.
  std::function<absl::Status(const std::shared_ptr<const AdapterGeneration>&)> try_out{};
};

// What a change may ask for beside itself. The fields of other changes count for nothing.
struct ChangeOptions {
  std::string
      digest{};        // a load: what the files must have (FAILED_PRECONDITION); else: what serves (ABORTED)
  bool force = false;  // an unload: end the requests that hold it
  std::string request_id{};  // a client's: the same change under the same id is made once
  bool record = true;        // a load: it is still wanted after a restart
  bool lenient = false;      // a load: see ReadAdapter
};

struct AnsweredRequest;
class Disk;
class Executor;
class Journal;

// The store loads, replaces, pins and unloads adapters for operators, and gives requests handles on them.
//
// An adapter that is AVAILABLE need not be on the device. Adapters that nobody holds are thrown out when
// others need the room, first to host memory, then to disk, and are fetched when a request asks for them.
// What is fetched is what was loaded: if the files have changed since, the adapter is FAILED.
//
// With a journal, every change is on the disk before it is answered, and a store that begins with that
// journal has the adapters that were wanted, AVAILABLE and not read yet.
//
// Thread-safe. No method waits for a disk or the device: the store's threads do. Callbacks are called without
// a lock held, watchers and the waker excepted, and must not wait.
class AdapterStore {
 public:
  using Event = std::function<void(const AdapterEvent&)>;
  using Done = std::function<void(const absl::StatusOr<AdapterInfo>&)>;
  // What the store is made of. Tests run the jobs of the executors themselves.
  struct Parts {
    std::unique_ptr<Disk> disk;                // null: options.root
    std::unique_ptr<Executor> loads, fetches;  // null: threads, as options say
    std::unique_ptr<Journal> journal;          // null: a restart forgets everything
    Parts();
    Parts(Parts&&) noexcept;
    ~Parts();
  };

  // `backend` and `clock` must outlive the store; `model` is the base model's.
  AdapterStore(AdapterStoreOptions options, Backend& backend, const ModelConfig& model, const Clock& clock,
               Parts parts = {});
  // The same with another disk than options.root.
  AdapterStore(AdapterStoreOptions options, std::unique_ptr<Disk> disk, Backend& backend,
               const ModelConfig& model, const Clock& clock);
  // Waits for the loads that run; loads that still wait end with CANCELLED. REQUIRES: no handle is left, and
  // nobody calls the store any more.
  ~AdapterStore();

  // A handle on `name`, to be bound when the adapter is on the device; the store fetches it if it is not
  // there. Errors: NOT_FOUND (it was never loaded), UNAVAILABLE (its first load, or an unload, is under way;
  // or fetching it has failed, and it is too early to try again, see Backoff), FAILED_PRECONDITION (its load
  // failed), RESOURCE_EXHAUSTED with reason NO_ROOM (it can never be on the device beside what is pinned).
  //
  // When an adapter cannot be fetched later, the handle's status says why: FAILED_PRECONDITION (the files
  // hold other content than was loaded; the adapter is FAILED from then on), UNAVAILABLE (the files cannot be
  // read, or the device failed; the next request has it tried again), RESOURCE_EXHAUSTED (as above, after a
  // pin, a replace or a restart), ABORTED (unloaded by force). All statuses carry a reason
  // (server/base/reason.h).
  absl::StatusOr<AdapterHandle> Acquire(const std::string& name);
  // The same for what one request needs at the same time. All or none.
  absl::StatusOr<std::vector<AdapterHandle>> AcquireAll(const std::vector<std::string>& names);
  // Fetches pinned adapters again that could not be fetched, when they are due (see Backoff). To be called
  // now and then.
  void TryPinnedAgain();
  // The names that requests wait for, most urgent first: adapters are fetched in this order, and thrown out
  // in the opposite one. Replaces the last call's names. A name is also wanted from its Acquire to the next
  // call.
  void Want(std::vector<std::string> names);
  // `waker` is called when the answers of handles may have changed; null: nobody is. It must not wait, nor
  // call the store.
  void SetWaker(std::function<void()> waker);

  // The directory that `path` names, as it is kept and told: relative to the root, without what people type
  // beside it ("a/", "./a", the absolute path). INVALID_ARGUMENT where it names nothing beneath the root.
  absl::StatusOr<std::string> Locate(const std::string& path) const;

  // Creates or replaces `name` from the directory `path` under the root (see Locate). The adapter goes on the
  // device at once if there is room beside what is held or waited for. A replace that fails leaves the old
  // generation serving. Generation numbers ascend over the store's life, whatever the name.
  //
  // `done` is called once, from a loader thread, or at once for an error that needs no disk: INVALID_ARGUMENT
  // (the name, see server/base/names.h; the path; broken or unsupported files, with file, tensor and reason),
  // NOT_FOUND (no such directory or file), PERMISSION_DENIED (on the disk), FAILED_PRECONDITION (no root, or
  // not the digest that was asked for), RESOURCE_EXHAUSTED (larger than a tier, or pinned and grown beyond
  // what the other pinned ones leave; too many adapters or waiting loads), UNAVAILABLE (the files are being
  // changed), ABORTED (another change of the name is under way), INTERNAL (the disk, the device or the
  // journal).
  void Load(const std::string& name, const std::string& path, Done done, ChangeOptions options = {});
  // The same, but only checks: nothing is registered or put on the device. The info that `done` gets says
  // what a load would say, in state kUnloaded and with generation 0.
  void ValidateOnly(const std::string& name, const std::string& path, Done done, ChangeOptions options = {});
  // Gives no new handles from now on. The memory goes back when the last handle does, and `done` is called
  // then; at once with NOT_FOUND, with ABORTED (another change of the name is under way), and with OK for a
  // name whose load had failed. With `force`, handles tell their requests to end. An unload of what is being
  // unloaded joins that unload: both end together, and a `force` of either counts for both. Until then a load
  // of the name is ABORTED.
  void Unload(const std::string& name, Done done, ChangeOptions options = {});
  // Pins `name` to the device, or not: the adapter is fetched before anything that requests wait for, and
  // stays. The answer does not wait for that. RESOURCE_EXHAUSTED: it does not fit beside the others that are
  // pinned. Pins may take the room that other adapters need: requests for those are refused, and those that
  // wait end (see Acquire).
  void Pin(const std::string& name, bool pinned, Done done, ChangeOptions options = {});

  // For changes of several adapters at once (apply.h). WasAnswered tells whether `id` has been answered, and
  // INVALID_ARGUMENT if that was for something else than `what`. Remember makes it so: `done` is called when
  // that is durable.
  absl::StatusOr<bool> WasAnswered(const std::string& id, const std::string& what) const;
  void Remember(const std::string& id, const std::string& what, std::function<void(absl::Status)> done);

  absl::StatusOr<AdapterInfo> Get(const std::string& name) const;
  std::vector<AdapterInfo> List() const;  // by name

  // Calls `event` for every change from now on, in order, under a lock of the store: it must not call back
  // into the store and must not wait. An event comes before the `done` of what caused it. Returns a token for
  // RemoveWatcher.
  uint64_t AddWatcher(Event event);
  // `event` is not called any more when this returns.
  void RemoveWatcher(uint64_t token);

  uint64_t device_bytes_used() const;  // reserved and taken, to the byte
  uint64_t device_bytes_budget() const;
  uint64_t host_bytes_used() const;
  uint64_t host_bytes_budget() const;

  struct Impl;

 private:
  std::shared_ptr<Impl> impl_;
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_ADAPTERS_STORE_ADAPTER_STORE_H_
