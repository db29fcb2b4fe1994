// Moves one component up a tier: from disk to host memory, from there to the device.
#ifndef HYDRAD_SERVER_ADAPTERS_STORE_COMPONENT_MOVER_H_
#define HYDRAD_SERVER_ADAPTERS_STORE_COMPONENT_MOVER_H_

#include <absl/status/status.h>

#include "server/adapters/store/adapter_reader.h"
#include "server/adapters/store/store_state.h"

namespace hydrad {

// Thread-safe, for different components: work on one is done by one thread at a time. Both methods wait, and
// must not be called with the store's lock held.
class ComponentMover {
 public:
  // Both must outlive this.
  ComponentMover(StoreState& state, const AdapterReader& reader) : state_(state), reader_(reader) {}

  // REQUIRES: the residency has reserved host memory for it. Errors as AdapterReader::ReadComponent's, and
  // RESOURCE_EXHAUSTED when more than that is needed and there is none.
  absl::Status Read(ComponentId component);
  // REQUIRES: it is in host memory, and the residency has reserved its bytes on the device. INTERNAL when the
  // device fails.
  absl::Status Upload(ComponentId component);

 private:
  StoreState& state_;
  const AdapterReader& reader_;
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_ADAPTERS_STORE_COMPONENT_MOVER_H_
