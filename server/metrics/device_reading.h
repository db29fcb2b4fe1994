// What the machine tells of the device that the model runs on.
#ifndef HYDRAD_SERVER_METRICS_DEVICE_READING_H_
#define HYDRAD_SERVER_METRICS_DEVICE_READING_H_

#include <optional>

namespace hydrad {

// A value that the device does not tell is left out.
struct DeviceReading {
  std::optional<double> power_watts{};        // that it draws now
  std::optional<double> energy_joules{};      // since the reader was opened
  std::optional<double> memory_used_bytes{};  // by all programs
  std::optional<double> utilization{};        // share of the last interval in which it computed, 0 to 1
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_METRICS_DEVICE_READING_H_
