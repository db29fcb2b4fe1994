// Untyped values at the device seam: the network names buffers, only the backend knows what is in them.
#ifndef HYDRAD_SERVER_BACKEND_TENSOR_H_
#define HYDRAD_SERVER_BACKEND_TENSOR_H_

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace hydrad {

enum class DType : uint8_t { kF32, kBf16, kF16 };

constexpr std::string_view Name(DType type) {
  return type == DType::kF32 ? "f32" : type == DType::kBf16 ? "bf16" : "f16";
}

// Sizes are in bits, since a number may be smaller than a byte.
constexpr int BitsOf(DType type) { return type == DType::kF32 ? 32 : 16; }

// What `count` numbers take side by side, from the beginning of a byte to the end of one.
constexpr size_t BytesOf(size_t count, int bits) { return (count * static_cast<size_t>(bits) + 7) / 8; }
constexpr size_t BytesOf(size_t count, DType type) { return BytesOf(count, BitsOf(type)); }

// A row-major matrix in device memory that somebody else owns.
struct Tensor {
  void* data = nullptr;
  DType dtype = DType::kF32;
  int rows = 0, cols = 0;
  int64_t stride = 0;  // elements from one row to the next

  Tensor Rows(int begin, int count) const { return {At(begin * stride), dtype, count, cols, stride}; }
  Tensor Cols(int begin, int count) const { return {At(begin), dtype, rows, count, stride}; }

 private:
  void* At(int64_t number) const {
    return static_cast<std::byte*>(data) + BytesOf(static_cast<size_t>(number), dtype);
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
