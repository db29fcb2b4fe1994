#include "server/metrics/device_series.h"

#include <algorithm>
#include <iterator>
#include <utility>

namespace hydrad {
namespace {

void Append(std::vector<prometheus::MetricFamily>& families, prometheus::MetricType type, const char* name,
            const char* help, std::optional<double> value) {
  if (!value) return;
  prometheus::ClientMetric line;
  line.gauge.value = line.counter.value = *value;
  families.push_back({name, help, type, {line}});
}

}  // namespace

std::vector<prometheus::MetricFamily> FamiliesOf(const DeviceReading& reading) {
  using Type = prometheus::MetricType;
  std::vector<prometheus::MetricFamily> families;
  Append(families, Type::Gauge, "hydrad_power_watts", "Power that the device draws.", reading.power_watts);
  Append(families, Type::Counter, "hydrad_energy_joules_total",
         "Energy that the device has used since the daemon started.", reading.energy_joules);
  Append(families, Type::Gauge, "hydrad_device_memory_used_bytes",
         "Memory of the device in use, by all programs.", reading.memory_used_bytes);
  Append(families, Type::Gauge, "hydrad_device_utilization_ratio",
         "Share of the time in which the device computed, 0 to 1.", reading.utilization);
  return families;
}

void WithDevice::SetReader(std::function<DeviceReading()> read) {
  MutexLock lock(&mu_);
  read_ = std::move(read);
}

std::vector<prometheus::MetricFamily> WithDevice::Collect() const {
  std::vector<prometheus::MetricFamily> families = registry_.Collect();
  MutexLock lock(&mu_);
  if (read_) std::ranges::move(FamiliesOf(read_()), std::back_inserter(families));
  return families;
}

}  // namespace hydrad
