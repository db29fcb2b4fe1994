// An MoA from its files to the device, without a store.
#ifndef HYDRAD_TESTS_SCHEDULER_MOA_MIXTURE_H_
#define HYDRAD_TESTS_SCHEDULER_MOA_MIXTURE_H_

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "server/adapters/formats/posix_disk.h"
#include "server/adapters/store/device_component.h"
#include "server/base/status_macros.h"

namespace hydrad {

// What an adapter consists of, on the device. `path` is relative to the working directory.
inline absl::StatusOr<std::vector<std::shared_ptr<const DeviceComponent>>> LoadComponents(
    const std::string& path, Backend& backend, const AdapterShape& shape) {
  const auto disk = MakePosixDisk(".");
  ASSIGN_OR_RETURN(AdapterContents contents, ReadAdapter(*disk, path, shape, 1u << 30));
  std::vector<std::shared_ptr<const DeviceComponent>> components;
  for (const LoadedComponent& read : TakeApart(path, std::move(contents))) {
    ASSIGN_OR_RETURN(components.emplace_back(), UploadComponent(read.component, backend, shape));
  }
  return components;
}

inline absl::StatusOr<std::shared_ptr<const Mixture>> LoadMixture(const std::string& path, Backend& backend,
                                                                  const AdapterShape& shape) {
  ASSIGN_OR_RETURN(const auto components, LoadComponents(path, backend, shape));
  return MakeMixture(components, shape.layers);
}

}  // namespace hydrad

#endif  // HYDRAD_TESTS_SCHEDULER_MOA_MIXTURE_H_
