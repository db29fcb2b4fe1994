#include "kernels/bench/cuda/dense.h"

#include <cstdio>
#include <cstdlib>

namespace hydrad::bench {
namespace {

void Check(cublasStatus_t status, const char* what) {
  if (status == CUBLAS_STATUS_SUCCESS) return;
  std::fprintf(stderr, "%s: cuBLASLt status %d\n", what, static_cast<int>(status));
  std::exit(1);
}

}  // namespace

// cuBLAS thinks in columns: its result [out, rows] is y, its first factor w transposed, its second x.
Dense::Dense(int rows, int out, int in) {
  Check(cublasLtCreate(&handle_), "create");
  Check(cublasLtMatmulDescCreate(&product_, CUBLAS_COMPUTE_32F, CUDA_R_32F), "describe");
  const cublasOperation_t transposed = CUBLAS_OP_T;
  Check(
      cublasLtMatmulDescSetAttribute(product_, CUBLASLT_MATMUL_DESC_TRANSA, &transposed, sizeof(transposed)),
      "transpose");
  Check(cublasLtMatrixLayoutCreate(&w_, CUDA_R_16BF, in, out, in), "layout");
  Check(cublasLtMatrixLayoutCreate(&x_, CUDA_R_16BF, in, rows, in), "layout");
  Check(cublasLtMatrixLayoutCreate(&y_, CUDA_R_16BF, out, rows, out), "layout");
  cublasLtMatmulPreference_t preference;
  Check(cublasLtMatmulPreferenceCreate(&preference), "preference");
  size_t workspace = kWorkspace;
  Check(cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &workspace,
                                             sizeof(workspace)),
        "workspace");
  cublasLtMatmulHeuristicResult_t found{};
  int count = 0;
  Check(cublasLtMatmulAlgoGetHeuristic(handle_, product_, w_, x_, y_, y_, preference, 1, &found, &count),
        "heuristic");
  Check(count > 0 ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_NOT_SUPPORTED, "heuristic");
  algorithm_ = found.algo;
  Check(cublasLtMatmulPreferenceDestroy(preference), "preference");
  if (cudaMalloc(&workspace_, kWorkspace) != cudaSuccess) Check(CUBLAS_STATUS_ALLOC_FAILED, "workspace");
}

Dense::~Dense() {
  cudaFree(workspace_);
  cublasLtMatrixLayoutDestroy(y_);
  cublasLtMatrixLayoutDestroy(x_);
  cublasLtMatrixLayoutDestroy(w_);
  cublasLtMatmulDescDestroy(product_);
  cublasLtDestroy(handle_);
}

void Dense::Run(bf16* y, const bf16* x, const bf16* w, cudaStream_t stream) const {
  const float one = 1, zero = 0;
  Check(cublasLtMatmul(handle_, product_, &one, w, w_, x, x_, &zero, y, y_, y, y_, &algorithm_, workspace_,
                       kWorkspace, stream),
        "product");
}

}  // namespace hydrad::bench
