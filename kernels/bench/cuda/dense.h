// The dense product that adapters are measured against: cuBLASLt, bf16 in and out, f32 sums.
#ifndef HYDRAD_KERNELS_BENCH_CUDA_DENSE_H_
#define HYDRAD_KERNELS_BENCH_CUDA_DENSE_H_

#include <cublasLt.h>

#include <memory>

#include "kernels/types.h"

namespace hydrad::bench {

// One shape, its algorithm chosen once. Owns a workspace.
class Dense {
 public:
  // y [rows, out] = x [rows, in] w^T, w [out, in]. Ends the process on an error, as everything here does.
  Dense(int rows, int out, int in);
  ~Dense();
  Dense(const Dense&) = delete;
  Dense& operator=(const Dense&) = delete;

  void Run(bf16* y, const bf16* x, const bf16* w, cudaStream_t stream) const;

 private:
  static constexpr size_t kWorkspace = 32 << 20;
  cublasLtHandle_t handle_ = nullptr;
  cublasLtMatmulDesc_t product_ = nullptr;
  cublasLtMatrixLayout_t w_ = nullptr, x_ = nullptr, y_ = nullptr;
  cublasLtMatmulAlgo_t algorithm_{};
  void* workspace_ = nullptr;
};

}  // namespace hydrad::bench

#endif  // HYDRAD_KERNELS_BENCH_CUDA_DENSE_H_
