// How base weights lie on a device.
#ifndef HYDRAD_SERVER_BACKEND_WEIGHT_FORMAT_H_
#define HYDRAD_SERVER_BACKEND_WEIGHT_FORMAT_H_

#include <cstddef>
#include <string_view>

#include "server/backend/tensor.h"

namespace hydrad {

// The form of every Weight of a backend. Values need not be whole bytes, and values that are coarse may have
// scales beside them: what a product uses is then a value times the scale of its group.
struct WeightFormat {
  std::string_view name;  // for people: "bf16"
  int bits = 16;          // of a value
  int group = 0;          // values of a row, side by side, that share a scale; 0: there are no scales
  int scale_bits = 0;     // of a scale

  // Bytes of a matrix, its scales included. Each row's values and each row's scales begin at a byte; a
  // group that the row's end cuts off has a scale as others do. A device that packs may take more.
  constexpr size_t Bytes(int rows, int cols) const {
    const int groups = group == 0 ? 0 : (cols + group - 1) / group;
    return static_cast<size_t>(rows) * (BytesOf(cols, bits) + BytesOf(groups, scale_bits));
  }
};

inline constexpr WeightFormat kF32Weights = {.name = "f32", .bits = 32};
inline constexpr WeightFormat kBf16Weights = {.name = "bf16", .bits = 16};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_BACKEND_WEIGHT_FORMAT_H_
