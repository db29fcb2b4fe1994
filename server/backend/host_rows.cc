#include "server/backend/host_rows.h"

#include <bit>
#include <cstring>
#include <vector>

namespace hydrad {
namespace {

// A half-precision number as it lies in a file.
struct Half {
  uint16_t bits;
};

float ToFloat(Half x) { return HalfToFloat(x.bits); }
using hydrad::ToFloat;

void Store(float& to, float x) { to = x; }
void Store(bf16& to, float x) { to = ToBf16(x); }

template <class Source, class T>
void Convert(const std::byte* from, size_t count, T* out) {
  for (size_t i = 0; i < count; ++i) {
    Source element;
    std::memcpy(&element, from + i * sizeof(Source), sizeof(Source));
    Store(out[i], ToFloat(element));
  }
}

}  // namespace

float HalfToFloat(uint16_t half) {
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000) << 16;
  const uint32_t exponent = half >> 10 & 0x1f, fraction = half & 0x3ff;
  if (exponent == 0) {  // zero, or a multiple of 2^-24
    const float magnitude = static_cast<float>(fraction) * 0x1p-24f;
    return sign ? -magnitude : magnitude;
  }
  const uint32_t widened = exponent == 31 ? 255 : exponent + 112;
  return std::bit_cast<float>(sign | widened << 23 | fraction << 13);
}

template <class T>
void CopyRows(const HostMatrix& matrix, int row_begin, int rows, T* out) {
  const size_t skipped = static_cast<size_t>(row_begin) * matrix.cols;
  const std::byte* from = static_cast<const std::byte*>(matrix.data) + BytesOf(skipped, matrix.dtype);
  const size_t count = static_cast<size_t>(rows) * matrix.cols;
  switch (matrix.dtype) {
    case DType::kF32:
      return Convert<float>(from, count, out);
    case DType::kBf16:
      return Convert<bf16>(from, count, out);
    case DType::kF16:
      return Convert<Half>(from, count, out);
  }
}

template void CopyRows<float>(const HostMatrix&, int, int, float*);
template void CopyRows<bf16>(const HostMatrix&, int, int, bf16*);

bool SameRows(const HostMatrix& x, int first, const HostMatrix& block) {
  std::vector<float> of_x(x.cols), of_block(block.cols);
  for (int row = 0; row < block.rows; ++row) {
    CopyRows(x, first + row, 1, of_x.data());
    CopyRows(block, row, 1, of_block.data());
    if (of_x != of_block) return false;
  }
  return true;
}

}  // namespace hydrad
