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
  int64_t handles = 0;               // requests that hold any generation of it now
  absl::Status error;                // of the last failed load
};

struct AdapterStoreOptions {
  std::string root;                    // directory that no path may leave; "" refuses every load
  uint64_t device_bytes = 1ull << 30;  // budget for adapters on the device
  int loader_threads = 1;
  size_t max_adapters = 10'000;
};

// Thread-safe. No method waits for a disk except Load and ValidateOnly (with their callers' threads free: the
// work is done on loader threads and `done` is called there).
class AdapterStore {
 public:
  using Event = std::function<void(const AdapterInfo&)>;
  using Done = std::function<void(const absl::StatusOr<AdapterInfo>&)>;

  // `backend` and `clock` must outlive the store; `shape` is the base model's.
  AdapterStore(AdapterStoreOptions options, Backend& backend, const ModelConfig& model, const Clock& clock);
  // Stops the loaders. REQUIRES: no handle is left.
  ~AdapterStore();

  // A handle on the serving generation. NOT_FOUND (never loaded), UNAVAILABLE (loading or unloading),
  // FAILED_PRECONDITION (its load failed).
  absl::StatusOr<AdapterHandle> Acquire(const std::string& name);

  // Creates or replaces `name` from the directory `path` under the root. `done` is called once, from a loader
  // thread or at once for an error that needs no disk: INVALID_ARGUMENT (name, path, broken or unsupported
  // files: file, tensor and reason), NOT_FOUND (no such directory), RESOURCE_EXHAUSTED (no room on the
  // device), ABORTED (another load or unload of the name is under way). A failed replace leaves the old
  // generation serving.
  void Load(const std::string& name, const std::string& path, Done done);
  // As Load, but only checks.
  void ValidateOnly(const std::string& name, const std::string& path, Done done);
  // No new handles from now on; the memory goes back when the last handle does, and `done` is called then.
  void Unload(const std::string& name, Done done);

  absl::StatusOr<AdapterInfo> Get(const std::string& name) const;
  std::vector<AdapterInfo> List() const;  // by name

  // Calls `event` for every state change from now on, in order, under the store's event lock: it must not
  // call back into the store and must not wait. Returns a token for RemoveWatcher.
  uint64_t AddWatcher(Event event);
  void RemoveWatcher(uint64_t token);

  uint64_t device_bytes_used() const;  // reserved and taken
  uint64_t device_bytes_budget() const;

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_ADAPTERS_ADAPTER_STORE_H_
