// Base weights and vectors in device memory.
#ifndef HYDRAD_SERVER_BACKEND_CUDA_CUDA_WEIGHT_H_
#define HYDRAD_SERVER_BACKEND_CUDA_CUDA_WEIGHT_H_

#include <memory>
#include <span>

#include "kernels/types.h"
#include "server/backend/buffer.h"
#include "server/backend/cuda/adapter_pool.h"
#include "server/backend/cuda/device_memory.h"
#include "server/backend/cuda/uploader.h"

namespace hydrad {

// W [rows, cols] in bf16, row-major, and a bias in bf16.
class CudaWeight final : public Weight {
 public:
  // As Backend::LoadWeight. What it returns is on the device.
  static absl::StatusOr<std::unique_ptr<CudaWeight>> Load(std::span<const HostMatrix> parts,
                                                          std::span<const float> bias, DeviceMemory& memory,
                                                          Uploader& uploader);
  int rows() const override { return rows_; }
  int cols() const override { return cols_; }
  size_t bytes() const override { return values_->bytes() + (bias_ == nullptr ? 0 : bias_->bytes()); }
  const bf16* values() const { return static_cast<const bf16*>(values_->data()); }
  const void* bias() const { return bias_ == nullptr ? nullptr : bias_->data(); }

 private:
  CudaWeight(int rows, int cols, std::unique_ptr<Buffer> values, std::unique_ptr<Buffer> bias)
      : rows_(rows), cols_(cols), values_(std::move(values)), bias_(std::move(bias)) {}

  const int rows_, cols_;
  const std::unique_ptr<Buffer> values_, bias_;
};

// A vector of the model's, from its memory, and one of an adapter's, from the pool: on the device when they
// return. RESOURCE_EXHAUSTED, and errors of the device.
absl::StatusOr<std::unique_ptr<Buffer>> LoadModelVector(std::span<const float> values, DeviceMemory& memory,
                                                        Uploader& uploader);
absl::StatusOr<std::unique_ptr<Buffer>> LoadAdapterVector(std::span<const float> values, AdapterPool& pool,
                                                          Uploader& uploader);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_BACKEND_CUDA_CUDA_WEIGHT_H_
