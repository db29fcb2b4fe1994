// The safetensors file format, read as hostile input: an 8-byte little-endian header length N, N bytes of
// JSON, then the tensors' bytes without hole or overlap.
#ifndef HYDRAD_SERVER_MODEL_SAFETENSORS_H_
#define HYDRAD_SERVER_MODEL_SAFETENSORS_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "server/backend/tensor.h"
#include "server/base/mapped_file.h"
#include "server/base/status.h"

namespace hydrad {

// One tensor of a file; `data` points into the mapping.
struct TensorInfo {
  std::string dtype;           // as in the file: "BF16", "F32", ...
  std::vector<int64_t> shape;  // [] is a scalar
  std::span<const std::byte> data;
};

// Immutable after Parse; any thread may read. Tensors live as long as the object.
class Safetensors {
 public:
  static constexpr size_t kMaxModelHeader = 100'000'000;
  static constexpr size_t kMaxAdapterHeader = 8'000'000;

  // Checks the whole layout: header length against `max_header` and the file, exact keys per tensor, no
  // duplicate, known dtype, product(shape) * size without overflow and equal to its span, spans contiguous
  // from 0 to the end of the file. Values (NaN, Inf) are not looked at. Errors are INVALID_ARGUMENT and name
  // the tensor.
  static absl::StatusOr<Safetensors> Parse(std::shared_ptr<const MappedFile> file, size_t max_header);
  static absl::StatusOr<Safetensors> ParseBytes(std::span<const std::byte> bytes, size_t max_header);

  // Tensors of another Safetensors, which must outlive this.
  using Tensors = std::map<std::string, TensorInfo, std::less<>>;
  static Safetensors View(Tensors tensors);

  const Tensors& tensors() const { return tensors_; }
  const TensorInfo* Find(std::string_view name) const;

 private:
  std::shared_ptr<const MappedFile> file_;  // null after ParseBytes and View
  Tensors tensors_;
};

// A one- or two-dimensional tensor (a vector is one row) of type F32, BF16 or F16 as a matrix.
absl::StatusOr<HostMatrix> AsMatrix(std::string_view name, const TensorInfo& tensor);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_MODEL_SAFETENSORS_H_
