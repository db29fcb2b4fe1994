// Untyped values at the device seam: the network names buffers, only the backend knows what is in them.
#ifndef HYDRAD_SERVER_BACKEND_TENSOR_H_
#define HYDRAD_SERVER_BACKEND_TENSOR_H_

#include <cstddef>
#include <cstdint>

namespace hydrad {

enum class DType : uint8_t { kF32, kBf16, kF16 };

inline size_t SizeOf(DType type) { return type == DType::kF32 ? 4 : 2; }

// A row-major matrix in device memory that somebody else owns.
struct Tensor {
  void* data = nullptr;
  DType dtype = DType::kF32;
  int rows = 0, cols = 0;
  int64_t stride = 0;  // elements from one row to the next

  Tensor Rows(int begin, int count) const {
    return {static_cast<std::byte*>(data) + begin * stride * SizeOf(dtype), dtype, count, cols, stride};
  }
  Tensor Cols(int begin, int count) const {
    return {static_cast<std::byte*>(data) + begin * SizeOf(dtype), dtype, rows, count, stride};
  }
};

// A row-major matrix in host memory, usually within a file that was read: a source of weights; any alignment.
struct HostMatrix {
  const void* data = nullptr;
  DType dtype = DType::kBf16;
  int rows = 0, cols = 0;
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_BACKEND_TENSOR_H_
