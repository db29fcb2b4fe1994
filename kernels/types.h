// The value types that every kernel speaks: bf16, and a view of a row-major matrix.
#ifndef HYDRAD_KERNELS_TYPES_H_
#define HYDRAD_KERNELS_TYPES_H_

#include <bit>
#include <cstdint>
#include <type_traits>

namespace hydrad {

// bfloat16: the upper half of an IEEE float.
struct bf16 {
  uint16_t bits;
};

[[gnu::always_inline]] inline float ToFloat(bf16 x) {
  return std::bit_cast<float>(static_cast<uint32_t>(x.bits) << 16);
}
[[gnu::always_inline]] inline float ToFloat(float x) { return x; }

// Nearest, ties to even; NaN stays NaN.
[[gnu::always_inline]] inline bf16 ToBf16(float x) {
  const uint32_t u = std::bit_cast<uint32_t>(x);
  if ((u & 0x7fffffffu) > 0x7f800000u) return {static_cast<uint16_t>((u >> 16) | 0x40)};
  return {static_cast<uint16_t>((u + 0x7fffu + ((u >> 16) & 1)) >> 16)};
}

// A row-major matrix somebody else owns, in the memory of the variant it is handed to.
template <class T>
struct Mat {
  T* data;
  int rows, cols;
  int64_t stride;  // elements from one row to the next, >= cols

  constexpr T* row(int r) const { return data + r * stride; }
  Mat Rows(int begin, int count) const { return {data + begin * stride, count, cols, stride}; }
  Mat Cols(int begin, int count) const { return {data + begin, rows, count, stride}; }
  operator Mat<const T>() const requires(!std::is_const_v<T>) { return {data, rows, cols, stride}; }
};

}  // namespace hydrad

#endif  // HYDRAD_KERNELS_TYPES_H_
