// Series of the device, which is asked for them when somebody scrapes and at no other time.
#ifndef HYDRAD_SERVER_METRICS_DEVICE_SERIES_H_
#define HYDRAD_SERVER_METRICS_DEVICE_SERIES_H_

#include <prometheus/collectable.h>
#include <prometheus/registry.h>

#include <functional>
#include <vector>

#include "server/base/mutex.h"
#include "server/metrics/device_reading.h"

namespace hydrad {

// Makes a family of one line for each value of the reading.
std::vector<prometheus::MetricFamily> FamiliesOf(const DeviceReading& reading);

// A registry and, once there is a reader, the device. Thread-safe.
class WithDevice final : public prometheus::Collectable {
 public:
  prometheus::Registry& registry() { return registry_; }
  void SetReader(std::function<DeviceReading()> read);
  std::vector<prometheus::MetricFamily> Collect() const override;

 private:
  prometheus::Registry registry_;
  mutable Mutex mu_;
  std::function<DeviceReading()> read_ ABSL_GUARDED_BY(mu_);
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_METRICS_DEVICE_SERIES_H_
