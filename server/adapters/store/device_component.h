// The components of adapters on the device (see ComponentInfo).
#ifndef HYDRAD_SERVER_ADAPTERS_STORE_DEVICE_COMPONENT_H_
#define HYDRAD_SERVER_ADAPTERS_STORE_DEVICE_COMPONENT_H_

#include <absl/status/statusor.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "server/adapters/mixture.h"
#include "server/adapters/store/host_component.h"
#include "server/backend/adapter_weights.h"

namespace hydrad {

class Backend;
class Buffer;

// One component on the device. Immutable.
struct DeviceComponent {
  std::shared_ptr<const DeviceAdapter> device;  // of a whole adapter or an expert
  AdapterTraits traits;                         // of `device`
  std::vector<int32_t> invocation;              // of an aLoRA, see TokenFields
  // Of routers: what they say without the rows, and the rows, null for an expert that has none.
  std::optional<MoaRouters> routers;
  std::vector<std::shared_ptr<const Buffer>> rows;  // of each expert
  DeviceAdapters* device_adapters = nullptr;        // of the device, for the slot of the router over them
};

// The bytes that UploadComponent takes of the device, exactly.
uint64_t DeviceBytes(const HostComponent& component, const Backend& backend, const AdapterShape& shape);

// Copies a component to the device, and waits for that. INTERNAL when the device fails, or takes another
// number of bytes than DeviceBytes says.
absl::StatusOr<std::shared_ptr<const DeviceComponent>> UploadComponent(const HostComponent& component,
                                                                       Backend& backend,
                                                                       const AdapterShape& shape);

// The MoA that consists of `components`, in TakeApart's order. It shares what they have on the device.
std::shared_ptr<const Mixture> MakeMixture(std::span<const std::shared_ptr<const DeviceComponent>> components,
                                           int layers);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_ADAPTERS_STORE_DEVICE_COMPONENT_H_
