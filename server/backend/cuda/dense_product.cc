#include "server/backend/cuda/dense_product.h"

#include <algorithm>
#include <bit>

namespace hydrad {
namespace {

template <class Value>
void Set(cublasLtMatmulDesc_t operation, cublasLtMatmulDescAttributes_t attribute, const Value& value) {
  HYDRAD_CUBLAS_CHECK(cublasLtMatmulDescSetAttribute(operation, attribute, &value, sizeof value));
}

// The library counts in columns: what it calls a matrix of `rows` x `cols` with leading dimension `stride` is
// our [cols, rows].
cublasLtMatrixLayout_t Layout(cudaDataType type, int rows, int cols, int64_t stride) {
  cublasLtMatrixLayout_t layout;
  HYDRAD_CUBLAS_CHECK(cublasLtMatrixLayoutCreate(&layout, type, rows, cols, stride));
  return layout;
}

int AlignmentOf(const Tensor& t) {
  const auto bits = reinterpret_cast<uintptr_t>(t.data);
  return static_cast<int>(std::min<uintptr_t>(256, bits & ~(bits - 1)));
}

}  // namespace

CudaGemm::CudaGemm(void* workspace, size_t workspace_bytes)
    : workspace_(workspace), workspace_bytes_(workspace_bytes) {
  cublasLtHandle_t library;
  HYDRAD_CUBLAS_CHECK(cublasLtCreate(&library));
  library_.reset(library);
}

void CudaGemm::Multiply(Tensor y, Tensor x, const void* weight, const void* bias, cudaStream_t stream) {
  HYDRAD_CHECK(x.dtype == DType::kBf16 && y.rows == x.rows && (bias == nullptr || y.dtype == DType::kBf16));
  const Shape shape{y.cols,   x.cols,  x.rows,          x.stride,
                    y.stride, y.dtype, bias != nullptr, std::min(AlignmentOf(x), AlignmentOf(y))};
  auto plan = plans_.find(shape);
  if (plan == plans_.end()) plan = plans_.emplace(shape, MakePlan(shape, bias)).first;
  const Plan& p = plan->second;
  if (bias != nullptr) Set(p.operation.get(), CUBLASLT_MATMUL_DESC_BIAS_POINTER, bias);
  const float one = 1, zero = 0;
  HYDRAD_CUBLAS_CHECK(cublasLtMatmul(library_.get(), p.operation.get(), &one, weight, p.w.get(), x.data,
                                     p.x.get(), &zero, y.data, p.y.get(), y.data, p.y.get(), &p.algorithm,
                                     workspace_, workspace_bytes_, stream));
}

// The choice may look at where a bias is: `bias` is the first, and others are aligned like it.
CudaGemm::Plan CudaGemm::MakePlan(const Shape& s, const void* bias) const {
  Plan plan;
  cublasLtMatmulDesc_t operation;
  HYDRAD_CUBLAS_CHECK(cublasLtMatmulDescCreate(&operation, CUBLAS_COMPUTE_32F, CUDA_R_32F));
  plan.operation.reset(operation);
  Set(operation, CUBLASLT_MATMUL_DESC_TRANSA, CUBLAS_OP_T);
  if (s.bias) {
    Set(operation, CUBLASLT_MATMUL_DESC_EPILOGUE, CUBLASLT_EPILOGUE_BIAS);
    Set(operation, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, CUDA_R_16BF);
    Set(operation, CUBLASLT_MATMUL_DESC_BIAS_POINTER, bias);
  }
  plan.w.reset(Layout(CUDA_R_16BF, s.k, s.n, s.k));
  plan.x.reset(Layout(CUDA_R_16BF, s.k, s.rows, s.x_stride));
  plan.y.reset(Layout(s.y_type == DType::kF32 ? CUDA_R_32F : CUDA_R_16BF, s.n, s.rows, s.y_stride));
  Choose(s, plan);
  return plan;
}

void CudaGemm::Choose(const Shape& s, Plan& plan) const {
  cublasLtMatmulPreference_t made;
  HYDRAD_CUBLAS_CHECK(cublasLtMatmulPreferenceCreate(&made));
  const CudaHandle<cublasLtMatmulPreference_t, &cublasLtMatmulPreferenceDestroy> preference(made);
  const auto set = [&](cublasLtMatmulPreferenceAttributes_t attribute, const auto& value) {
    HYDRAD_CUBLAS_CHECK(cublasLtMatmulPreferenceSetAttribute(made, attribute, &value, sizeof value));
  };
  set(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, workspace_bytes_);
  const auto alignment = static_cast<uint32_t>(s.alignment);
  set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, alignment);
  set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, alignment);
  set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, alignment);
  cublasLtMatmulHeuristicResult_t best;
  int found = 0;
  HYDRAD_CUBLAS_CHECK(cublasLtMatmulAlgoGetHeuristic(library_.get(), plan.operation.get(), plan.w.get(),
                                                     plan.x.get(), plan.y.get(), plan.y.get(), made, 1, &best,
                                                     &found));
  HYDRAD_CHECK(found == 1 && best.state == CUBLAS_STATUS_SUCCESS);
  plan.algorithm = best.algo;
}

}  // namespace hydrad
