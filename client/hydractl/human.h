// Quantities as people read them.
#ifndef HYDRAD_CLIENT_HYDRACTL_HUMAN_H_
#define HYDRAD_CLIENT_HYDRACTL_HUMAN_H_

#include <cstdint>
#include <string>

namespace hydrad {

// "0 B", "1023 B", "1.0 KiB", "12.5 MiB": one decimal, in the largest binary unit that leaves at least 1.
std::string BytesText(uint64_t bytes);

// "0 s", "59 s", "3 min 5 s", "2 h 7 min", "40 d 3 h": the two largest units, whole. Negative: "0 s".
std::string DurationText(int64_t seconds);

}  // namespace hydrad

#endif  // HYDRAD_CLIENT_HYDRACTL_HUMAN_H_
