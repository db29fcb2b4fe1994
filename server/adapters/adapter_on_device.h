// From an adapter in host memory to what the device holds of it.
#ifndef HYDRAD_SERVER_ADAPTERS_ADAPTER_ON_DEVICE_H_
#define HYDRAD_SERVER_ADAPTERS_ADAPTER_ON_DEVICE_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "server/adapters/mixture.h"
#include "server/adapters/read_adapter.h"
#include "server/backend/backend.h"
#include "server/base/status.h"

namespace hydrad {

// All that a request needs of an adapter, without its name and number. Immutable.
struct AdapterOnDevice {
  std::shared_ptr<const DeviceAdapter> device;  // null where there is a mixture
  AdapterTraits traits;                         // of `device`
  std::shared_ptr<const Mixture> mixture;       // of an adapter that picks one of its experts per sequence
  std::vector<int32_t> invocation;              // of an aLoRA, see TokenFields
};

// Exactly what CopyToDevice takes of the device.
uint64_t DeviceBytes(const AdapterContents& contents, const Backend& backend, const AdapterShape& shape);

// INTERNAL when the device fails, or takes another number of bytes than was said.
absl::StatusOr<std::shared_ptr<const AdapterOnDevice>> CopyToDevice(const AdapterContents& contents,
                                                                    Backend& backend,
                                                                    const AdapterShape& shape);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_ADAPTERS_ADAPTER_ON_DEVICE_H_
