// The info of an adapter: where it stands, what it is, and what has changed.
#ifndef HYDRAD_SERVER_ADAPTERS_INFO_H_
#define HYDRAD_SERVER_ADAPTERS_INFO_H_

#include <absl/status/status.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace hydrad {

struct AdapterTokens;
class ChatFormat;

// Where an adapter name stands. LOADING -> AVAILABLE -> UNLOADING -> gone; LOADING -> FAILED -> LOADING;
// AVAILABLE -> FAILED when it cannot be brought back from disk as it was. A replace keeps AVAILABLE (the old
// generation serves) until the new one is ready.
enum class AdapterState : uint8_t {
  kLoading,    // being read for the first time; requests are told to retry
  kAvailable,  // requests are served, after a wait if it is not on the device
  kUnloading,  // no new requests; waiting for the last handle
  kFailed,     // the first load failed, or the files have changed; `error` says why
  kUnloaded,   // gone (only in events)
};
const char* Name(AdapterState state);

// Where the serving generation is: the lowest tier of its components. Copies in the tiers below are not told.
enum class Tier : uint8_t { kDisk, kHost, kDevice };
const char* Name(Tier tier);

// A component of an adapter is what is read, kept and thrown out as one: the adapter itself; of an MoA, each
// of its experts, and its routers. A load shares the components that it finds in what the name serves
// already.
struct ComponentInfo {
  enum class Kind : uint8_t {
    kWhole,
    kExpert,
    kRouters,  // the names of the experts, their rows, and how one is picked
  };
  std::string path;    // of the adapter's directory, relative to the root
  std::string digest;  // AdapterInfo's; of an expert or routers over what they say, wherever that stands
  uint64_t host_bytes = 0, device_bytes = 0;
  Kind kind = Kind::kWhole;
  std::string expert{};        // of kExpert, its name
  uint64_t reading_bytes = 0;  // the most that it takes of the host while it is read; 0: host_bytes
  uint64_t generation = 0;     // of the adapter, when it was loaded
  bool lenient = false;        // as AdapterInfo's: it is read again as it was read
};

// A snapshot of one adapter name.
struct AdapterInfo {
  std::string name;
  AdapterState state = AdapterState::kLoading;
  Tier tier = Tier::kDisk;
  bool pinned = false;                        // by an operator: stays on the device
  uint64_t generation = 0;                    // of the serving generation; 0 before the first
  std::string path;                           // relative to the adapter root
  std::string family;                         // "lora", "hydralora", ...: for people, nothing decides by it
  std::string digest;                         // sha256 over the adapter's files, "sha256:<hex>"
  uint64_t device_bytes = 0, host_bytes = 0;  // what it takes there; 0 until it has been read
  int max_rank = 0;
  int experts = 1;                   // largest number of experts of a projection
  std::vector<std::string> targets;  // projection names
  // Of an adapter that picks one of its experts per sequence (MoA): their names, in the routers' order.
  std::vector<std::string> expert_names;
  std::vector<ComponentInfo> components;  // of an MoA: its routers, then its experts
  int64_t handles = 0;                    // requests that hold any generation of it now
  absl::Status error;                     // of the last load, by an operator or for a request
  bool lenient = false;  // loaded so: what its config and its tensors differ in is taken as PEFT takes it
  // What to know of it before trusting its answers: what a lenient load left alone or dropped, and a base
  // model of another name.
  std::vector<std::string> warnings;
  // How conversations with it are written, where its directory has a chat template of its own; null: as the
  // base model says.
  std::shared_ptr<const ChatFormat> chat;
  // The tokens that it brings; null: its requests know the base's only.
  std::shared_ptr<const AdapterTokens> tokens;
  double load_seconds = 0;  // what that took, from the start of its reading or copying to its end
  // When the serving generation was loaded, or found in the journal at start: in seconds since 1970, for
  // people.
  int64_t loaded = 0;
};

enum class AdapterChange : uint8_t {
  kState,        // info.state or info.pinned
  kLoaded,       // a load has ended; info.error says how. kAvailable with an error: a replace failed
  kFetched,      // it has come up to info.tier, for requests
  kFetchFailed,  // it could not, for info.error
  kEvicted,      // it was moved down to info.tier, for others
};

struct AdapterEvent {
  AdapterInfo info;
  AdapterChange change = AdapterChange::kState;
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_ADAPTERS_INFO_H_
