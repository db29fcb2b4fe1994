#include "server/adapters/store/device_component.h"

#include <utility>

#include "server/backend/backend.h"
#include "server/base/status.h"
#include "server/base/status_macros.h"

namespace hydrad {
namespace {

using Copy = std::shared_ptr<const DeviceComponent>;

uint64_t RowBytes(const MoaRouters& routers) {
  uint64_t bytes = 0;
  for (const MoaRouters::Expert& expert : routers.experts) bytes += std::span(expert.row).size_bytes();
  return bytes;
}

absl::Status CopyRows(const MoaRouters& routers, Backend& backend, DeviceComponent* copy) {
  copy->device_adapters = &backend.device_adapters();
  copy->routers.emplace(MoaRouters{{}, routers.pool, routers.decision});
  for (const MoaRouters::Expert& expert : routers.experts) {
    std::shared_ptr<const Buffer>& row = copy->rows.emplace_back();
    copy->routers->experts.push_back({expert.name, {}, expert.bias});
    if (expert.row.empty()) continue;
    ASSIGN_OR_RETURN(row, backend.LoadVector(expert.row));
    if (row->bytes() == std::span(expert.row).size_bytes()) continue;
    return Internal("expert '{}': a row took {} bytes of the device where {} were reserved", expert.name,
                    row->bytes(), std::span(expert.row).size_bytes());
  }
  return absl::OkStatus();
}

}  // namespace

uint64_t DeviceBytes(const HostComponent& component, const Backend& backend, const AdapterShape& shape) {
  return component.routers ? RowBytes(*component.routers) : backend.AdapterBytes(component.weights, shape);
}

absl::StatusOr<Copy> UploadComponent(const HostComponent& component, Backend& backend,
                                     const AdapterShape& shape) {
  auto copy = std::make_shared<DeviceComponent>();
  if (component.routers) {
    RETURN_IF_ERROR(CopyRows(*component.routers, backend, copy.get()));
    return Copy(std::move(copy));
  }
  copy->traits = component.traits;
  copy->invocation = component.invocation;
  const uint64_t reserved = DeviceBytes(component, backend, shape);
  ASSIGN_OR_RETURN(copy->device, backend.LoadAdapter(component.weights, shape));
  if (copy->device->bytes() == reserved) return Copy(std::move(copy));
  return Internal("took {} bytes of the device where {} were reserved", copy->device->bytes(), reserved);
}

std::shared_ptr<const Mixture> MakeMixture(std::span<const Copy> components, int layers) {
  const DeviceComponent& routers = *components.front();
  std::vector<Mixture::Expert> experts;
  for (size_t e = 0; e < routers.rows.size(); ++e) {
    const MoaRouters::Expert& expert = routers.routers->experts[e];
    experts.push_back(std::make_shared<const DeviceExpert>(
        DeviceExpert{expert.name, components[e + 1]->device, routers.rows[e], expert.bias}));
  }
  return std::make_shared<const Mixture>(std::move(experts), layers, routers.routers->pool,
                                         routers.routers->decision, *routers.device_adapters);
}

}  // namespace hydrad
