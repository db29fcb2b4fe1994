// An expert's way from host memory to the device.
#ifndef HYDRAD_SERVER_ADAPTERS_DEVICE_EXPERT_H_
#define HYDRAD_SERVER_ADAPTERS_DEVICE_EXPERT_H_

#include <cstdint>
#include <memory>

#include "server/adapters/mixture.h"
#include "server/adapters/read_adapter.h"
#include "server/backend/backend.h"
#include "server/base/status.h"

namespace hydrad {

// Exactly what LoadExpert takes of the device: the low-rank change and, where the device can look at them
// (Backend::can_route), the rows of the routers.
uint64_t ExpertBytes(const ExpertWeights& expert, const Backend& backend, const AdapterShape& shape);

// Errors are those of the backend, and INTERNAL when it takes another number of bytes than was said; they
// name the expert. Loader threads.
absl::StatusOr<std::shared_ptr<const DeviceExpert>> LoadExpert(const ExpertWeights& expert, Backend& backend,
                                                               const AdapterShape& shape);

// Likewise all experts of an adapter. REQUIRES: it has some (AdapterContents::experts_by_name).
uint64_t MixtureBytes(const AdapterContents& contents, const Backend& backend, const AdapterShape& shape);
absl::StatusOr<std::shared_ptr<const Mixture>> LoadMixture(const AdapterContents& contents, Backend& backend,
                                                           const AdapterShape& shape);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_ADAPTERS_DEVICE_EXPERT_H_
