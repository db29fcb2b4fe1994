#include "server/adapters/adapter_on_device.h"

#include <utility>

#include "server/adapters/device_expert.h"

namespace hydrad {

uint64_t DeviceBytes(const AdapterContents& contents, const Backend& backend, const AdapterShape& shape) {
  if (!contents.experts_by_name.empty()) return MixtureBytes(contents, backend, shape);
  return backend.AdapterBytes(contents.weights, shape);
}

absl::StatusOr<std::shared_ptr<const AdapterOnDevice>> CopyToDevice(const AdapterContents& contents,
                                                                    Backend& backend,
                                                                    const AdapterShape& shape) {
  auto copy = std::make_shared<AdapterOnDevice>();
  copy->traits = contents.traits;
  copy->invocation = contents.invocation;
  if (!contents.experts_by_name.empty()) {
    ASSIGN_OR_RETURN(copy->mixture, LoadMixture(contents, backend, shape));
    return std::shared_ptr<const AdapterOnDevice>(std::move(copy));
  }
  const uint64_t reserved = DeviceBytes(contents, backend, shape);
  ASSIGN_OR_RETURN(std::unique_ptr<DeviceAdapter> device, backend.LoadAdapter(contents.weights, shape));
  if (device->bytes() != reserved) {
    return Internal("took {} bytes of the device where {} were reserved", device->bytes(), reserved);
  }
  copy->device = std::move(device);
  return std::shared_ptr<const AdapterOnDevice>(std::move(copy));
}

}  // namespace hydrad
