// The adapters room's door: from a name to weights on the device and back.
#ifndef HYDRAD_SERVER_ADAPTERS_ADAPTER_STORE_H_
#define HYDRAD_SERVER_ADAPTERS_ADAPTER_STORE_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "server/adapters/handle.h"
#include "server/backend/backend.h"
#include "server/base/clock.h"
#include "server/base/status.h"
#include "server/model/base_weights.h"
#include "server/model/config.h"

namespace hydrad {

// Where an adapter name stands. LOADING -> AVAILABLE -> UNLOADING -> gone; LOADING -> FAILED -> LOADING.
// A replace keeps AVAILABLE (the old generation serves) until the new one is ready.
enum class AdapterState : uint8_t {
  kLoading,    // being read; requests are told to retry
  kAvailable,  // requests are served
  kUnloading,  // no new requests; waiting for the last handle
  kFailed,     // the first load failed; `error` says why
  kUnloaded,   // gone (only in events)
};
const char* Name(AdapterState state);

// A snapshot of one adapter name.
struct AdapterInfo {
  std::string name;
  AdapterState state = AdapterState::kLoading;
  uint64_t generation = 0;  // of the serving generation; 0 before the first
  std::string path;         // relative to the adapter root
  std::string family;       // "lora", "hydralora", ...: for people, nothing decides by it
  std::string digest;       // sha256 over the adapter's files, "sha256:<hex>"
  uint64_t device_bytes = 0;
  int max_rank = 0;
  int experts = 1;                   // largest number of experts of a projection
  std::vector<std::string> targets;  // projection names
  // Of an adapter that picks one of its experts per sequence (MoA): their names, in the routers' order.
  std::vector<std::string> expert_names;
  int64_t handles = 0;      // requests that hold any generation of it now
  absl::Status error;       // of the last load
  double load_seconds = 0;  // what the last load took, from the start of its reading to its end
};

struct AdapterStoreOptions {
  std::string root{};                  // directory that no path may leave; "" refuses every load
  uint64_t device_bytes = 1ull << 30;  // budget for adapters on the device
  int loader_threads = 1;
  size_t max_adapters = 10'000;          // names, whatever their state
  size_t max_queued_loads = 256;         // that wait for a loader thread
  uint64_t max_file_bytes = 4ull << 30;  // largest adapter_model.safetensors: as much host memory per thread
  // The base model's own numbers; without them adapters that need them are refused (see ReadAdapter).
  std::shared_ptr<const BaseWeights> base{};
};

class Disk;

// Thread-safe. No method waits for a disk or the device: loads are done on loader threads, several at once.
// Callbacks are called without a lock held, watchers excepted, and must not wait.
class AdapterStore {
 public:
  using Event = std::function<void(const AdapterInfo&)>;
  using Done = std::function<void(const absl::StatusOr<AdapterInfo>&)>;

  // `backend` and `clock` must outlive the store; `model` is the base model's.
  AdapterStore(AdapterStoreOptions options, Backend& backend, const ModelConfig& model, const Clock& clock);
  // With another disk than options.root.
  AdapterStore(AdapterStoreOptions options, std::unique_ptr<Disk> disk, Backend& backend,
               const ModelConfig& model, const Clock& clock);
  // Ends what is being loaded; loads that still wait end with CANCELLED. REQUIRES: no handle is left, and
  // nobody calls the store any more.
  ~AdapterStore();

  // A handle on the serving generation. NOT_FOUND (never loaded), UNAVAILABLE (loading or unloading),
  // FAILED_PRECONDITION (its load failed).
  absl::StatusOr<AdapterHandle> Acquire(const std::string& name);

  // Creates or replaces `name` ([a-zA-Z0-9._-]{1,128}, not starting with '.') from the directory `path` under
  // the root. `done` is called once, from a loader thread or at once for an error that needs no disk:
  // INVALID_ARGUMENT (name, path, broken or unsupported files: file, tensor and reason), NOT_FOUND (no such
  // directory or file), PERMISSION_DENIED (on the disk), FAILED_PRECONDITION (no root), RESOURCE_EXHAUSTED
  // (no room on the device, too many adapters or waiting loads), ABORTED (another load or unload of the name
  // is under way), INTERNAL (the disk). A failed replace leaves the old generation serving. A replace needs
  // room for both generations. Generation numbers ascend over the store's life, whatever the name.
  void Load(const std::string& name, const std::string& path, Done done);
  // As Load, but only checks: nothing is reserved, registered or put on the device. The info that `done` gets
  // says what a load would say, in state kUnloaded and with generation 0.
  void ValidateOnly(const std::string& name, const std::string& path, Done done);
  // No new handles from now on; the memory goes back when the last handle does, and `done` is called then, on
  // the thread that let go of it. At once: NOT_FOUND, ABORTED (a load or unload of the name is under way),
  // and OK for a name whose load had failed.
  void Unload(const std::string& name, Done done);

  absl::StatusOr<AdapterInfo> Get(const std::string& name) const;
  std::vector<AdapterInfo> List() const;  // by name

  // Calls `event` for every state change from now on, in order, under the store's event lock: it must not
  // call back into the store and must not wait. Each load ends with exactly one event of kAvailable or
  // kFailed, whose `error` and `load_seconds` tell how it went (kAvailable with an error: a replace failed).
  // An event comes before the `done` of what caused it. Returns a token for RemoveWatcher.
  uint64_t AddWatcher(Event event);
  // `event` is not called any more when this returns.
  void RemoveWatcher(uint64_t token);

  uint64_t device_bytes_used() const;  // reserved and taken, to the byte
  uint64_t device_bytes_budget() const;

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_ADAPTERS_ADAPTER_STORE_H_
