#include "server/backend/cuda/dense_product.h"

#include <algorithm>
#include <bit>

#include "server/base/check.h"
#include "server/base/status.h"
#include "server/base/status_macros.h"

namespace hydrad {
namespace {

constexpr char kPlanning[] = "planning a dense product", kMultiplying[] = "a dense product";

using Operation = CudaHandle<cublasLtMatmulDesc_t, &cublasLtMatmulDescDestroy>;
using MatrixLayout = CudaHandle<cublasLtMatrixLayout_t, &cublasLtMatrixLayoutDestroy>;

template <class Value>
absl::Status Set(cublasLtMatmulDesc_t operation, cublasLtMatmulDescAttributes_t attribute,
                 const Value& value) {
  return CublasStatus(cublasLtMatmulDescSetAttribute(operation, attribute, &value, sizeof value), kPlanning);
}

absl::StatusOr<Operation> MakeOperation(const void* bias) {
  cublasLtMatmulDesc_t made;
  RETURN_IF_ERROR(CublasStatus(cublasLtMatmulDescCreate(&made, CUBLAS_COMPUTE_32F, CUDA_R_32F), kPlanning));
  Operation operation(made);
  RETURN_IF_ERROR(Set(made, CUBLASLT_MATMUL_DESC_TRANSA, CUBLAS_OP_T));
  if (bias == nullptr) return operation;
  RETURN_IF_ERROR(Set(made, CUBLASLT_MATMUL_DESC_EPILOGUE, CUBLASLT_EPILOGUE_BIAS));
  RETURN_IF_ERROR(Set(made, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, CUDA_R_16BF));
  RETURN_IF_ERROR(Set(made, CUBLASLT_MATMUL_DESC_BIAS_POINTER, bias));
  return operation;
}

// The library counts in columns: what it calls a matrix of `rows` x `cols` with leading dimension `stride` is
// our [cols, rows].
absl::StatusOr<MatrixLayout> MakeLayout(cudaDataType type, int rows, int cols, int64_t stride) {
  cublasLtMatrixLayout_t layout;
  RETURN_IF_ERROR(CublasStatus(cublasLtMatrixLayoutCreate(&layout, type, rows, cols, stride), kPlanning));
  return MatrixLayout(layout);
}

int AlignmentOf(const Tensor& t) {
  const auto bits = reinterpret_cast<uintptr_t>(t.data);
  return static_cast<int>(std::min<uintptr_t>(256, bits & ~(bits - 1)));
}

}  // namespace

absl::StatusOr<std::unique_ptr<CudaGemm>> CudaGemm::Make(void* workspace, size_t workspace_bytes) {
  cublasLtHandle_t library;
  RETURN_IF_ERROR(CublasStatus(cublasLtCreate(&library), "opening cuBLASLt"));
  return std::unique_ptr<CudaGemm>(new CudaGemm(Library(library), workspace, workspace_bytes));
}

absl::Status CudaGemm::Multiply(Tensor y, Tensor x, const void* weight, const void* bias,
                                cudaStream_t stream) {
  HYDRAD_CHECK(x.dtype == DType::kBf16 && y.rows == x.rows && (bias == nullptr || y.dtype == DType::kBf16));
  const Shape shape{y.cols,   x.cols,  x.rows,          x.stride,
                    y.stride, y.dtype, bias != nullptr, std::min(AlignmentOf(x), AlignmentOf(y))};
  auto plan = plans_.find(shape);
  if (plan == plans_.end()) {
    ASSIGN_OR_RETURN(Plan made, MakePlan(shape, bias));
    plan = plans_.emplace(shape, std::move(made)).first;
  }
  const Plan& p = plan->second;
  if (bias != nullptr) RETURN_IF_ERROR(Set(p.operation.get(), CUBLASLT_MATMUL_DESC_BIAS_POINTER, bias));
  const float one = 1, zero = 0;
  return CublasStatus(cublasLtMatmul(library_.get(), p.operation.get(), &one, weight, p.w.get(), x.data,
                                     p.x.get(), &zero, y.data, p.y.get(), y.data, p.y.get(), &p.algorithm,
                                     workspace_, workspace_bytes_, stream),
                      kMultiplying);
}

// The choice may look at where a bias is: `bias` is the first, and others are aligned like it.
absl::StatusOr<CudaGemm::Plan> CudaGemm::MakePlan(const Shape& s, const void* bias) const {
  Plan plan;
  ASSIGN_OR_RETURN(plan.operation, MakeOperation(bias));
  ASSIGN_OR_RETURN(plan.w, MakeLayout(CUDA_R_16BF, s.k, s.n, s.k));
  ASSIGN_OR_RETURN(plan.x, MakeLayout(CUDA_R_16BF, s.k, s.rows, s.x_stride));
  const cudaDataType y_type = s.y_type == DType::kF32 ? CUDA_R_32F : CUDA_R_16BF;
  ASSIGN_OR_RETURN(plan.y, MakeLayout(y_type, s.n, s.rows, s.y_stride));
  RETURN_IF_ERROR(Choose(s, plan));
  return plan;
}

absl::Status CudaGemm::Choose(const Shape& s, Plan& plan) const {
  cublasLtMatmulPreference_t made;
  RETURN_IF_ERROR(CublasStatus(cublasLtMatmulPreferenceCreate(&made), kPlanning));
  const CudaHandle<cublasLtMatmulPreference_t, &cublasLtMatmulPreferenceDestroy> preference(made);
  const auto set = [&](cublasLtMatmulPreferenceAttributes_t attribute, const auto& value) {
    return CublasStatus(cublasLtMatmulPreferenceSetAttribute(made, attribute, &value, sizeof value),
                        kPlanning);
  };
  RETURN_IF_ERROR(set(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, workspace_bytes_));
  const auto alignment = static_cast<uint32_t>(s.alignment);
  RETURN_IF_ERROR(set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, alignment));
  RETURN_IF_ERROR(set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, alignment));
  RETURN_IF_ERROR(set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, alignment));
  cublasLtMatmulHeuristicResult_t best;
  int found = 0;
  RETURN_IF_ERROR(CublasStatus(
      cublasLtMatmulAlgoGetHeuristic(library_.get(), plan.operation.get(), plan.w.get(), plan.x.get(),
                                     plan.y.get(), plan.y.get(), made, 1, &best, &found),
      kPlanning));
  if (found == 1) RETURN_IF_ERROR(CublasStatus(best.state, kPlanning));
  if (found != 1) return Internal("{}: no algorithm for {} x {} x {}", kPlanning, s.rows, s.n, s.k);
  plan.algorithm = best.algo;
  return absl::OkStatus();
}

}  // namespace hydrad
