// Dense products by cuBLASLt.
#ifndef HYDRAD_SERVER_BACKEND_CUDA_DENSE_PRODUCT_H_
#define HYDRAD_SERVER_BACKEND_CUDA_DENSE_PRODUCT_H_

#include <compare>
#include <map>
#include <memory>

#include "server/backend/cuda/cuda_handles.h"
#include "server/backend/tensor.h"

namespace hydrad {

// Owned by the scheduler thread. Which algorithm a shape takes is asked of the library once and kept, so that
// a shape always has the same sums, and a step that is recorded asks nothing.
class CudaGemm {
 public:
  // `workspace` [workspace_bytes] in device memory serves every product: they follow each other on one
  // stream.
  static absl::StatusOr<std::unique_ptr<CudaGemm>> Make(void* workspace, size_t workspace_bytes);

  static constexpr size_t kWorkspaceBytes = size_t{32} << 20;

  // y [rows, n] = x [rows, k] W^T + bias, with x and W [n, k] bf16 and sums in f32; y is bf16 or f32. `bias`
  // [n] is bf16 or null, and null for an f32 y. W and bias are aligned to 256 bytes.
  absl::Status Multiply(Tensor y, Tensor x, const void* weight, const void* bias, cudaStream_t stream);

 private:
  struct Shape {
    int n, k, rows;
    int64_t x_stride, y_stride;
    DType y_type;
    bool bias;
    int alignment;  // of x and y, up to 256
    auto operator<=>(const Shape&) const = default;
  };
  struct Plan {
    CudaHandle<cublasLtMatmulDesc_t, &cublasLtMatmulDescDestroy> operation;
    CudaHandle<cublasLtMatrixLayout_t, &cublasLtMatrixLayoutDestroy> w, x, y;
    cublasLtMatmulAlgo_t algorithm;
  };
  using Library = CudaHandle<cublasLtHandle_t, &cublasLtDestroy>;
  CudaGemm(Library library, void* workspace, size_t workspace_bytes)
      : library_(std::move(library)), workspace_(workspace), workspace_bytes_(workspace_bytes) {}
  absl::StatusOr<Plan> MakePlan(const Shape& shape, const void* bias) const;
  absl::Status Choose(const Shape& shape, Plan& plan) const;

  const Library library_;
  void* const workspace_;
  const size_t workspace_bytes_;
  std::map<Shape, Plan> plans_;
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_BACKEND_CUDA_DENSE_PRODUCT_H_
