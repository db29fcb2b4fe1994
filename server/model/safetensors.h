// The safetensors file format, read as hostile input: an 8-byte little-endian header length N, N bytes of
// JSON, then the tensors' bytes without hole or overlap.
#ifndef HYDRAD_SERVER_MODEL_SAFETENSORS_H_
#define HYDRAD_SERVER_MODEL_SAFETENSORS_H_

#include <absl/functional/function_ref.h>
#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "server/backend/tensor.h"

namespace hydrad {

// One tensor of a file; `data` points into the bytes that were parsed.
struct TensorInfo {
  std::string dtype;           // as in the file: "BF16", "F32", ...
  std::vector<int64_t> shape;  // [] is a scalar
  std::span<const std::byte> data;
};

// The place of a tensor in a file: `bytes` bytes from its byte `begin` on.
struct TensorPlace {
  std::string dtype;
  std::vector<int64_t> shape;
  uint64_t begin = 0, bytes = 0;
};

// Immutable after ParseBytes; any thread may read. Tensors live as long as the bytes that were parsed.
class Safetensors {
 public:
  static constexpr size_t kMaxModelHeader = 100'000'000;
  static constexpr size_t kMaxAdapterHeader = 8'000'000;

  // Checks the whole layout: header length against `max_header` and the file, exact keys per tensor, no
  // duplicate, known dtype, product(shape) * size without overflow and equal to its span, spans contiguous
  // from 0 to the end of the file. Values (NaN, Inf) are not looked at. Errors are INVALID_ARGUMENT and name
  // the tensor.
  static absl::StatusOr<Safetensors> ParseBytes(std::span<const std::byte> bytes, size_t max_header);
  // Checks a file of `size` bytes in the same way, of which only the header is read: `read` fills in what it
  // is given from a byte of the file on. Errors as above, and those of `read`. May throw std::bad_alloc.
  using Places = std::map<std::string, TensorPlace, std::less<>>;
  using Read = absl::FunctionRef<absl::Status(uint64_t begin, std::span<std::byte> out)>;
  static absl::StatusOr<Places> ReadPlaces(uint64_t size, size_t max_header, Read read);

  // Tensors of another Safetensors, which must outlive this.
  using Tensors = std::map<std::string, TensorInfo, std::less<>>;
  static Safetensors View(Tensors tensors);

  const Tensors& tensors() const { return tensors_; }
  const TensorInfo* Find(std::string_view name) const;

 private:
  Tensors tensors_;
};

// The matrix, its data null, that a one- or two-dimensional tensor (a vector is one row) of type F32, BF16 or
// F16 is.
absl::StatusOr<HostMatrix> MatrixOf(std::string_view name, const std::string& dtype,
                                    std::span<const int64_t> shape);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_MODEL_SAFETENSORS_H_
