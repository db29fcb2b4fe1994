// Any bytes as a safetensors file: whatever parses must lie within the bytes.
#include "server/model/safetensors.h"

#include "server/base/check.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::span<const std::byte> bytes(reinterpret_cast<const std::byte*>(data), size);
  const auto parsed = hydrad::Safetensors::ParseBytes(bytes, hydrad::Safetensors::kMaxAdapterHeader);
  if (!parsed.ok()) return 0;
  size_t total = 0;
  for (const auto& [name, tensor] : parsed->tensors()) {
    total += tensor.data.size();
    HYDRAD_CHECK(tensor.data.data() >= bytes.data());
    HYDRAD_CHECK(tensor.data.data() + tensor.data.size() <= bytes.data() + bytes.size());
    const auto matrix = hydrad::MatrixOf(name, tensor.dtype, tensor.shape);
    if (!matrix.ok()) continue;
    const size_t elements = static_cast<size_t>(matrix->rows) * static_cast<size_t>(matrix->cols);
    HYDRAD_CHECK(hydrad::BytesOf(elements, matrix->dtype) == tensor.data.size());
  }
  HYDRAD_CHECK(total <= size);
  return 0;
}
