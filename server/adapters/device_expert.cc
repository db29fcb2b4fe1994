#include "server/adapters/device_expert.h"

#include <span>
#include <utility>
#include <vector>

namespace hydrad {
namespace {

absl::Status Take(const ExpertWeights& expert, Backend& backend, const AdapterShape& shape,
                  DeviceExpert* out) {
  ASSIGN_OR_RETURN(out->adapter, backend.LoadAdapter(expert.weights, shape));
  if (backend.can_route() && !expert.router.empty()) {
    ASSIGN_OR_RETURN(out->router, backend.LoadVector(expert.router));
  }
  const uint64_t said = ExpertBytes(expert, backend, shape);
  if (out->bytes() == said) return absl::OkStatus();
  return Internal("took {} bytes of the device where {} were reserved", out->bytes(), said);
}

}  // namespace

uint64_t ExpertBytes(const ExpertWeights& expert, const Backend& backend, const AdapterShape& shape) {
  const size_t router = backend.can_route() ? std::span(expert.router).size_bytes() : 0;
  return backend.AdapterBytes(expert.weights, shape) + router;
}

absl::StatusOr<std::shared_ptr<const DeviceExpert>> LoadExpert(const ExpertWeights& expert, Backend& backend,
                                                               const AdapterShape& shape) {
  auto device = std::make_shared<DeviceExpert>();
  device->name = expert.name;
  device->router_bias = expert.router_bias;
  const absl::Status taken = Take(expert, backend, shape, device.get());
  if (!taken.ok()) return Annotate(taken, fmt::format("expert '{}'", expert.name));
  return device;
}

uint64_t MixtureBytes(const AdapterContents& contents, const Backend& backend, const AdapterShape& shape) {
  uint64_t bytes = 0;
  for (const ExpertWeights& expert : contents.experts_by_name) bytes += ExpertBytes(expert, backend, shape);
  return bytes;
}

absl::StatusOr<std::shared_ptr<const Mixture>> LoadMixture(const AdapterContents& contents, Backend& backend,
                                                           const AdapterShape& shape) {
  std::vector<Mixture::Expert> experts;
  for (const ExpertWeights& weights : contents.experts_by_name) {
    ASSIGN_OR_RETURN(Mixture::Expert expert, LoadExpert(weights, backend, shape));
    experts.push_back(std::move(expert));
  }
  return std::make_shared<const Mixture>(std::move(experts), shape.layers, contents.pool, contents.decision);
}

}  // namespace hydrad
