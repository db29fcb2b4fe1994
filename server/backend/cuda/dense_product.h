// Dense products by cuBLASLt.
#ifndef HYDRAD_SERVER_BACKEND_CUDA_DENSE_PRODUCT_H_
#define HYDRAD_SERVER_BACKEND_CUDA_DENSE_PRODUCT_H_

#include <compare>
#include <map>
#include <memory>

#include "server/backend/backend.h"
#include "server/backend/cuda/cuda_handles.h"

namespace hydrad {

// Owned by the scheduler thread. Which algorithm a shape takes is asked of the library once and kept, so that
// a shape always has the same sums, and a step that is recorded asks nothing.
class CudaGemm {
 public:
  // `workspace` [workspace_bytes] in device memory serves every product: they follow each other on one
  // stream.
  CudaGemm(void* workspace, size_t workspace_bytes);

  static constexpr size_t kWorkspaceBytes = size_t{32} << 20;

  // y [rows, n] = x [rows, k] W^T + bias, with x and W [n, k] bf16 and sums in f32; y is bf16 or f32. `bias`
  // [n] is bf16 or null, and null for an f32 y. W and bias are aligned to 256 bytes. A fault of the library
  // ends the process.
  void Multiply(Tensor y, Tensor x, const void* weight, const void* bias, cudaStream_t stream);

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
  Plan MakePlan(const Shape& shape, const void* bias) const;
  void Choose(const Shape& shape, Plan& plan) const;

  CudaHandle<cublasLtHandle_t, &cublasLtDestroy> library_;
  void* const workspace_;
  const size_t workspace_bytes_;
  std::map<Shape, Plan> plans_;
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_BACKEND_CUDA_DENSE_PRODUCT_H_
