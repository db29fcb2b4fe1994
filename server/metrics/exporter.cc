#include "server/metrics/exporter.h"

#include <prometheus/collectable.h>
#include <prometheus/exposer.h>

#include <exception>
#include <utility>

namespace hydrad {

struct Exporter::Impl {
  explicit Impl(const std::string& address) : exposer(address, /*num_threads=*/2) {}
  std::shared_ptr<prometheus::Collectable> collectable;  // the exposer holds it weakly
  prometheus::Exposer exposer;
};

absl::StatusOr<std::unique_ptr<Exporter>> Exporter::Start(const std::string& address,
                                                          const Metrics& metrics) {
  const size_t colon = address.rfind(':');
  if (colon == std::string::npos) return InvalidArgument("metrics address '{}' is not HOST:PORT", address);
  // The library tells of a failure by an exception, which stops here.
  try {
    auto impl = std::make_unique<Impl>(address);
    impl->collectable = metrics.collectable();
    impl->exposer.RegisterCollectable(impl->collectable);
    const std::vector<int> ports = impl->exposer.GetListeningPorts();
    if (ports.empty()) return Unavailable("metrics address '{}' cannot be bound", address);
    std::string bound = fmt::format("{}:{}", address.substr(0, colon), ports.front());
    return std::unique_ptr<Exporter>(new Exporter(std::move(impl), std::move(bound)));
  } catch (const std::exception& error) {
    return Unavailable("metrics address '{}' cannot be bound: {}", address, error.what());
  }
}

Exporter::Exporter(std::unique_ptr<Impl> impl, std::string address)
    : impl_(std::move(impl)), address_(std::move(address)) {}
Exporter::~Exporter() = default;

}  // namespace hydrad
