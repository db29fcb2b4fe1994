// Makes of a stranger's tensor a matrix that the rest of the program may trust.
#ifndef HYDRAD_SERVER_ADAPTERS_FORMATS_TENSOR_CHECK_H_
#define HYDRAD_SERVER_ADAPTERS_FORMATS_TENSOR_CHECK_H_

#include <absl/status/statusor.h>

#include <memory>
#include <vector>

#include "server/adapters/formats/disk.h"
#include "server/backend/tensor.h"
#include "server/base/pages.h"
#include "server/model/safetensors.h"

namespace hydrad {

// Memory that an adapter's matrices point into: its file, and tensors that were converted or copied.
struct TensorStorage {
  Bytes file;
  std::vector<Pages> tensors;
  uint64_t tensor_bytes = 0;

  uint64_t bytes() const { return TakenBytes(file.size) + tensor_bytes; }
  float* Take(size_t floats) {
    tensor_bytes += TakenBytes(floats * sizeof(float));
    return reinterpret_cast<float*>(tensors.emplace_back(MakePages(floats * sizeof(float))).get());
  }
};

// `tensor` as a matrix of [rows, cols], every value of it finite. F32 and BF16 stay where they are; F16
// becomes F32, which holds every value of it exactly, in `storage`. INVALID_ARGUMENT, without the tensor's
// name, for another type or shape and for a NaN or an infinity (with its place).
absl::StatusOr<HostMatrix> CheckedMatrix(const TensorInfo& tensor, int rows, int cols,
                                         TensorStorage& storage);

// The same for a tensor of shape [size], whose values are widened exactly.
absl::StatusOr<std::vector<float>> CheckedVector(const TensorInfo& tensor, int size);

// Makes `matrix` outlive what it points into: a copy in `storage`.
void Keep(HostMatrix& matrix, TensorStorage& storage);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_ADAPTERS_FORMATS_TENSOR_CHECK_H_
