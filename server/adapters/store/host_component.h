// The components of adapters in host memory (see ComponentInfo).
#ifndef HYDRAD_SERVER_ADAPTERS_STORE_HOST_COMPONENT_H_
#define HYDRAD_SERVER_ADAPTERS_STORE_HOST_COMPONENT_H_

#include <absl/status/statusor.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "server/adapters/formats/disk.h"
#include "server/adapters/formats/read_adapter.h"
#include "server/adapters/info.h"  // ComponentInfo
#include "server/backend/adapter_weights.h"
#include "server/backend/expert_router.h"

namespace hydrad {

// The experts of an MoA by name, in order, and how one of them is picked.
struct MoaRouters {
  struct Expert {
    std::string name;
    std::vector<float> row;   // [layers, hidden], of every layer's router; empty: label only
    std::vector<float> bias;  // [layers], or empty for 0
  };
  std::vector<Expert> experts;
  RouterPool pool = RouterPool::kLast;
  Decision decision = Decision::kVote;
};

// One component in host memory. Immutable once it is made.
struct HostComponent {
  AdapterWeights weights{};             // of a whole adapter or an expert
  AdapterTraits traits{};               // of `weights`
  std::vector<int32_t> invocation{};    // of a whole adapter, see TokenFields
  std::optional<MoaRouters> routers{};  // of routers, which have nothing of the above
};

// A component as it has been read, and what is told of it.
struct LoadedComponent {
  ComponentInfo info;  // without device_bytes and generation
  HostComponent component;
};

// The components of what ReadAdapter has read from `path`: one; or of an MoA the routers, then the experts.
// They remember whether they were read leniently.
std::vector<LoadedComponent> TakeApart(const std::string& path, AdapterContents contents,
                                       bool lenient = false);

// Reads one component from the disk, as `info` tells of it from when it was loaded. FAILED_PRECONDITION: the
// files hold other content than was loaded, and only a new load helps. Any other error may pass by itself:
// nothing is there, it may not be read, the disk fails. Waits for the disk.
absl::StatusOr<LoadedComponent> ReadComponent(Disk& disk, const ComponentInfo& info,
                                              const AdapterShape& shape, uint64_t max_file_bytes,
                                              const BaseWeights* base);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_ADAPTERS_STORE_HOST_COMPONENT_H_
