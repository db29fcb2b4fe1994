#include "server/adapters/formats/tensor_check.h"

#include <fmt/format.h>

#include <bit>
#include <cstring>
#include <optional>

#include "server/backend/host_rows.h"
#include "server/base/background.h"
#include "server/base/invalid_argument.h"
#include "server/base/status_macros.h"

namespace hydrad {
namespace {

// The bits of element i; the data may be unaligned.
template <class Word>
Word Load(std::span<const std::byte> data, size_t i) {
  Word word;
  std::memcpy(&word, data.data() + i * sizeof(Word), sizeof(Word));
  return word;
}

// The first element whose exponent bits are all ones: a NaN or an infinity. Whole blocks are looked at
// without a branch, which the compiler turns into vector code; only a block that holds one is searched.
template <class Word>
std::optional<size_t> FindNonFinite(std::span<const std::byte> data, Word exponent) {
  const size_t count = data.size() / sizeof(Word);
  constexpr size_t kBlock = 4096;
  for (size_t begin = 0; begin < count; begin += kBlock) {
    Throttle();
    const size_t end = std::min(count, begin + kBlock);
    Word found = 0;
    for (size_t i = begin; i < end; ++i) found |= (Load<Word>(data, i) & exponent) == exponent;
    if (!found) continue;
    for (size_t i = begin; i < end; ++i) {
      if ((Load<Word>(data, i) & exponent) == exponent) return i;
    }
  }
  return std::nullopt;
}

std::optional<size_t> FindNonFinite(const HostMatrix& m, std::span<const std::byte> data) {
  switch (m.dtype) {
    case DType::kF32:
      return FindNonFinite<uint32_t>(data, 0x7f800000);
    case DType::kBf16:
      return FindNonFinite<uint16_t>(data, 0x7f80);
    case DType::kF16:
      return FindNonFinite<uint16_t>(data, 0x7c00);
  }
  return std::nullopt;
}

// IEEE half to float, for finite values: exact.
float FromHalf(uint16_t half) {
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000) << 16;
  const uint32_t exponent = (half >> 10) & 0x1f, mantissa = half & 0x3ff;
  if (exponent == 0) {  // zero and subnormals: mantissa * 2^-24
    const float value = static_cast<float>(mantissa) * 0x1p-24f;
    return sign ? -value : value;
  }
  return std::bit_cast<float>(sign | (exponent + 127 - 15) << 23 | mantissa << 13);
}

absl::StatusOr<DType> ParseDType(const std::string& dtype) {
  if (dtype == "F32") return DType::kF32;
  if (dtype == "BF16") return DType::kBf16;
  if (dtype == "F16") return DType::kF16;
  return InvalidArgument("dtype {} is not F32, BF16 or F16", dtype);
}

}  // namespace

absl::StatusOr<HostMatrix> CheckedMatrix(const TensorInfo& tensor, int rows, int cols,
                                         TensorStorage& storage) {
  HostMatrix matrix{.data = tensor.data.data(), .rows = rows, .cols = cols};
  ASSIGN_OR_RETURN(matrix.dtype, ParseDType(tensor.dtype));
  if (tensor.shape != std::vector<int64_t>{rows, cols}) {
    return InvalidArgument("shape [{}] is not [{}, {}]", fmt::join(tensor.shape, ", "), rows, cols);
  }
  if (const auto at = FindNonFinite(matrix, tensor.data)) {
    return InvalidArgument("the value at [{}, {}] is NaN or infinite", *at / cols, *at % cols);
  }
  if (matrix.dtype != DType::kF16) return matrix;

  const size_t count = tensor.data.size() / sizeof(uint16_t);
  float* const floats = storage.Take(count);
  for (size_t i = 0; i < count; ++i) floats[i] = FromHalf(Load<uint16_t>(tensor.data, i));
  matrix.data = floats;
  matrix.dtype = DType::kF32;
  return matrix;
}

absl::StatusOr<std::vector<float>> CheckedVector(const TensorInfo& tensor, int size) {
  if (tensor.shape != std::vector<int64_t>{size}) {
    return InvalidArgument("shape [{}] is not [{}]", fmt::join(tensor.shape, ", "), size);
  }
  TensorInfo row = tensor;
  row.shape = {1, size};
  TensorStorage storage;
  ASSIGN_OR_RETURN(const HostMatrix matrix, CheckedMatrix(row, 1, size, storage));
  std::vector<float> values(static_cast<size_t>(size));
  CopyRows(matrix, 0, 1, values.data());
  return values;
}

void Keep(HostMatrix& matrix, TensorStorage& storage) {
  const size_t bytes = BytesOf(static_cast<size_t>(matrix.rows) * matrix.cols, matrix.dtype);
  float* const copy = storage.Take((bytes + sizeof(float) - 1) / sizeof(float));
  std::memcpy(copy, matrix.data, bytes);
  matrix.data = copy;
}

}  // namespace hydrad
