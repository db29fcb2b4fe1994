// From a component in host memory to what the device holds of it.
#ifndef HYDRAD_SERVER_ADAPTERS_STORE_DEVICE_COMPONENT_H_
#define HYDRAD_SERVER_ADAPTERS_STORE_DEVICE_COMPONENT_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "server/adapters/mixture.h"
#include "server/adapters/store/host_component.h"
#include "server/backend/backend.h"
#include "server/base/status.h"

namespace hydrad {

// A component on the device. Immutable.
struct DeviceComponent {
  std::shared_ptr<const DeviceAdapter> device;  // of a whole adapter or an expert
  AdapterTraits traits;                         // of `device`
  std::vector<int32_t> invocation;              // of an aLoRA, see TokenFields
  // Of routers: what they say without the rows, and the rows, null where the device cannot look at them
  // (Backend::can_route) or there is none.
  std::optional<MoaRouters> routers;
  std::vector<std::shared_ptr<const Buffer>> rows;  // of each expert
};

// Exactly what CopyToDevice takes of the device.
uint64_t DeviceBytes(const HostComponent& component, const Backend& backend, const AdapterShape& shape);

// INTERNAL when the device fails, or takes another number of bytes than was said. ThreadExecutor threads.
absl::StatusOr<std::shared_ptr<const DeviceComponent>> CopyToDevice(const HostComponent& component,
                                                                    Backend& backend,
                                                                    const AdapterShape& shape);

// The MoA that `components` are, in TakeApart's order: it shares what they hold of the device.
std::shared_ptr<const Mixture> MakeMixture(std::span<const std::shared_ptr<const DeviceComponent>> components,
                                           int layers);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_ADAPTERS_STORE_DEVICE_COMPONENT_H_
