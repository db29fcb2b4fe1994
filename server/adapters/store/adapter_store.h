// The adapters room's door: from a name to weights on the device and back.
#ifndef HYDRAD_SERVER_ADAPTERS_STORE_ADAPTER_STORE_H_
#define HYDRAD_SERVER_ADAPTERS_STORE_ADAPTER_STORE_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "server/adapters/handle.h"
#include "server/adapters/info.h"
#include "server/backend/backend.h"
#include "server/base/clock.h"
#include "server/base/status.h"
#include "server/model/base_weights.h"
#include "server/model/model_config.h"

namespace hydrad {

struct AdapterStoreOptions {
  std::string root{};                    // directory that no path may leave; "" refuses every load
  uint64_t device_bytes = 1ull << 30;    // budget for adapters on the device
  uint64_t host_bytes = 2ull << 30;      // budget for adapters in host memory, those being read included
  int loader_threads = 1;                // that read for operators
  int fetch_threads = 1;                 // that bring what requests wait for
  bool loaders_in_background = false;    // loader threads run when no other thread wants their core
  size_t max_adapters = 10'000;          // names, whatever their state
  size_t max_queued_loads = 256;         // that wait for a loader thread
  uint64_t max_file_bytes = 4ull << 30;  // largest adapter_model.safetensors
  // What the base model is called, by its directory, its files and its operator. An adapter of a model that
  // is called otherwise gets a warning; none: no adapter does.
  std::vector<std::string> base_names{};
  // The base model's own numbers; without them adapters that need them are refused (see ReadAdapter).
  std::shared_ptr<const BaseWeights> base{};
  // Tries out what is to serve for the first time, on a loader thread; it stays on the device until this
  // answers, which may take a while. INVALID_ARGUMENT: it is no good, and the load fails, or what was brought
  // for a request is FAILED. Other errors may pass. Null: nothing is tried.
  std::function<absl::Status(const std::shared_ptr<const AdapterGeneration>&)> try_out{};
};

// What a change may ask for beside itself.
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

// Thread-safe. No method waits for a disk or the device: loads are done on loader threads, several at once.
// Callbacks are called without a lock held, watchers excepted, and must not wait.
//
// A name that is AVAILABLE need not be on the device: adapters that nobody uses are thrown out when others
// need the room, first to host memory, then to disk, and come back when a request asks for them. What comes
// back is what was loaded: if the files have changed since, the name is FAILED.
//
// With a journal, every change is on the disk before it is answered, and a store that begins with it has the
// adapters that were wanted, AVAILABLE and not read yet.
class AdapterStore {
 public:
  using Event = std::function<void(const AdapterEvent&)>;
  using Done = std::function<void(const absl::StatusOr<AdapterInfo>&)>;
  // What it is made of. Tests run the work of the executors themselves.
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
  // With another disk than options.root.
  AdapterStore(AdapterStoreOptions options, std::unique_ptr<Disk> disk, Backend& backend,
               const ModelConfig& model, const Clock& clock);
  // Ends what is being loaded; loads that still wait end with CANCELLED. REQUIRES: no handle is left, and
  // nobody calls the store any more.
  ~AdapterStore();

  // A claim on `name`, to be bound when it is on the device, which it is brought to if it is not there.
  // NOT_FOUND (never loaded), UNAVAILABLE (its first load, or an unload, is under way; or bringing it has
  // failed just now, and is not tried yet again), FAILED_PRECONDITION (its load failed), RESOURCE_EXHAUSTED
  // with reason NO_ROOM (it can never be on the device beside what is pinned). Later, if it cannot be brought
  // to the device, the handle's status says why: FAILED_PRECONDITION (other content than was loaded: it is
  // FAILED from then on), UNAVAILABLE (its files cannot be read, or the device failed: the next request has
  // it tried again, see Backoff), RESOURCE_EXHAUSTED (as above, after a pin, a replace or a restart), ABORTED
  // (unloaded by force). Statuses carry a reason (server/base/reason.h).
  absl::StatusOr<AdapterHandle> Acquire(const std::string& name);
  // As Acquire for what one request needs at the same time. All or none.
  absl::StatusOr<std::vector<AdapterHandle>> AcquireAll(const std::vector<std::string>& names);
  // Has pinned adapters tried again that could not be brought to the device, when their time has come (see
  // Backoff). To be called now and then.
  void TryPinnedAgain();
  // The names that requests wait for, most urgent first: brought to the device in this order, and thrown out
  // in the opposite one. Replaces the last call's; a name is also wanted from its Acquire to the next call.
  void Want(std::vector<std::string> names);
  // Is called when the answers of handles may have changed; null: nobody. Must not wait, nor call the store.
  void SetWaker(std::function<void()> waker);

  // The directory that `path` names, as it is kept and told: relative to the root, without what people type
  // beside
  // ("a/", "./a", the absolute path). INVALID_ARGUMENT where it names nothing beneath the root.
  absl::StatusOr<std::string> Locate(const std::string& path) const;

  // Creates or replaces `name` (as server/base/names.h says) from the directory `path`
  // under the root (see Locate). `done` is called once, from a loader thread or at once for an error that
  // needs no disk: INVALID_ARGUMENT (name, path, broken or unsupported files: file, tensor and reason),
  // NOT_FOUND (no such directory or file), PERMISSION_DENIED (on the disk), FAILED_PRECONDITION (no root, or
  // not the digest that was asked for), RESOURCE_EXHAUSTED (larger than a tier, or pinned and grown beyond
  // what the other pinned ones leave; too many adapters or waiting loads), UNAVAILABLE (its files are being
  // changed), ABORTED (another change of the name is under way), INTERNAL (the disk, the device or the
  // journal). It goes on the device at once if there is room beside what is in use or waited for. A failed
  // replace leaves the old generation serving. Generation numbers ascend over the store's life, whatever the
  // name.
  void Load(const std::string& name, const std::string& path, Done done, ChangeOptions options = {});
  // As Load, but only checks: nothing is registered or put on the device. The info that `done` gets says what
  // a load would say, in state kUnloaded and with generation 0.
  void ValidateOnly(const std::string& name, const std::string& path, Done done, ChangeOptions options = {});
  // No new handles from now on; the memory goes back when the last handle does, and `done` is called then. At
  // once: NOT_FOUND, ABORTED (another change of the name is under way), and OK for a name whose load had
  // failed. With `force`, handles tell their requests to end. An unload of what is being unloaded joins it:
  // it ends with it, and `force` counts for both. Until then a load of the name is ABORTED.
  void Unload(const std::string& name, Done done, ChangeOptions options = {});
  // Pins `name` to the device, or not: it is brought there, before anything that requests wait for, and
  // stays. Answers without waiting for that. RESOURCE_EXHAUSTED: not beside the others that are pinned. Pins
  // may take the room that other adapters need: requests for those are refused, and those that wait end (see
  // Acquire).
  void Pin(const std::string& name, bool pinned, Done done, ChangeOptions options = {});

  // For changes of several adapters at once (apply.h). Whether `id` has been answered; INVALID_ARGUMENT if
  // that was for something else than `what`. Then, to remember it: `done` is called when it is durable.
  absl::StatusOr<bool> WasAnswered(const std::string& id, const std::string& what) const;
  void Remember(const std::string& id, const std::string& what, std::function<void(absl::Status)> done);

  absl::StatusOr<AdapterInfo> Get(const std::string& name) const;
  std::vector<AdapterInfo> List() const;  // by name

  // Calls `event` for every change from now on, in order, under the store's event lock: it must not call back
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
