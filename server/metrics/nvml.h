// The part of NVIDIA's management library that the metrics use. The library comes with the driver, so the
// program looks for it when it runs and is not linked to it.
#ifndef HYDRAD_SERVER_METRICS_NVML_H_
#define HYDRAD_SERVER_METRICS_NVML_H_

#include <absl/status/statusor.h>

#include <memory>
#include <string>

#include "server/metrics/device_reading.h"

namespace hydrad {

inline constexpr const char* kNvmlLibrary = "libnvidia-ml.so.1";

// One GPU. Thread-safe.
class Nvml {
 public:
  // `pci_address` is the GPU's, "00000000:65:00.0". UNAVAILABLE, saying why, when `library` (a path, or a
  // name for the loader to find), a function of it or the GPU is not there.
  static absl::StatusOr<std::unique_ptr<Nvml>> Open(const std::string& library,
                                                    const std::string& pci_address);
  ~Nvml();

  // Asks the driver, which takes microseconds to milliseconds.
  DeviceReading Read() const;

 private:
  struct Functions;
  Nvml();

  std::unique_ptr<Functions> functions_;
  bool begun_ = false;
  void* device_ = nullptr;
  double energy_at_open_ = 0;
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_METRICS_NVML_H_
