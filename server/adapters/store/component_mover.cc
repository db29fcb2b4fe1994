#include "server/adapters/store/component_mover.h"

#include <memory>
#include <string>
#include <utility>

#include "server/base/status.h"
#include "server/base/status_macros.h"

namespace hydrad {

absl::Status ComponentMover::Read(ComponentId component) {
  ComponentInfo info;
  {
    MutexLock lock(&state_.mu);
    if (state_.stopping) return Cancelled("the server is stopping");
    info = state_.residency.info(component);
  }
  ASSIGN_OR_RETURN(LoadedComponent loaded, reader_.ReadComponent(info));
  const uint64_t known = info.device_bytes;
  info.host_bytes = loaded.info.host_bytes;
  info.device_bytes = loaded.info.device_bytes;
  auto copy = std::make_shared<const HostComponent>(std::move(loaded.component));
  Residency::Evicted evicted;
  MutexLock lock(&state_.mu);
  if (info.device_bytes != known) state_.room.NoteChange();
  if (state_.residency.FillHost(component, info, std::move(copy), &evicted)) return absl::OkStatus();
  return ResourceExhausted("{}: there is no host memory to read it", info.path);
}

absl::Status ComponentMover::Upload(ComponentId component) {
  Residency::HostCopy host;
  std::string path;
  {
    MutexLock lock(&state_.mu);
    host = state_.residency.host_copy(component);
    path = state_.residency.info(component).path;
  }
  auto device = reader_.Upload(*host);
  host.reset();
  if (!device.ok()) return Annotate(device.status(), path);
  MutexLock lock(&state_.mu);
  state_.residency.FillDevice(component, *std::move(device));
  return absl::OkStatus();
}

}  // namespace hydrad
