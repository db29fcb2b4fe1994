#include "client/hydractl/human.h"

#include <fmt/core.h>

#include <array>

namespace hydrad {

std::string BytesText(uint64_t bytes) {
  constexpr std::array<const char*, 7> kUnits = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  if (bytes < 1024) return fmt::format("{} B", bytes);
  double value = static_cast<double>(bytes);
  size_t unit = 0;
  // What would be printed as 1024.0 belongs to the next unit.
  for (; value >= 1023.95 && unit + 1 < kUnits.size(); ++unit) value /= 1024;
  return fmt::format("{:.1f} {}", value, kUnits[unit]);
}

std::string DurationText(int64_t seconds) {
  if (seconds < 60) return fmt::format("{} s", seconds < 0 ? 0 : seconds);
  const int64_t minutes = seconds / 60, hours = minutes / 60;
  if (hours == 0) return fmt::format("{} min {} s", minutes, seconds % 60);
  if (hours < 24) return fmt::format("{} h {} min", hours, minutes % 60);
  return fmt::format("{} d {} h", hours / 24, hours % 24);
}

}  // namespace hydrad
