// A stand-in for the part of cuBLASLt that a transformer needs: its opaque objects and its functions. The
// product itself is in matmul.cc.
#include <cublasLt.h>

#include <array>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <utility>

#include "runtime/error.h"
#include "runtime/injection.h"
#include "runtime/matmul.h"
#include "runtime/stream.h"

namespace ptxsim {
namespace {

struct Preference {
  size_t workspace = 0;
  std::array<uint32_t, 4> alignment = {256, 256, 256, 256};  // of A, B, C, D
};

struct Library {};

// What is injected, in cuBLASLt's words.
cublasStatus_t Failed(const char* call) {
  switch (Injected(call)) {
    case cudaSuccess:
      return CUBLAS_STATUS_SUCCESS;
    case cudaErrorMemoryAllocation:
      return CUBLAS_STATUS_ALLOC_FAILED;
    default:
      return CUBLAS_STATUS_EXECUTION_FAILED;
  }
}

// The objects of one type behind opaque handles. A handle that has been destroyed, or never made, has none.
template <class T>
class Handles {
 public:
  static Handles& All() {
    static auto* handles = new Handles;  // outlives every static object that may hold a handle
    return *handles;
  }
  template <class Handle>
  cublasStatus_t Make(Handle* handle, T value, const char* call) {
    if (cublasStatus_t status = Failed(call); status != CUBLAS_STATUS_SUCCESS) return status;
    std::lock_guard lock(mu_);
    auto object = std::make_unique<T>(std::move(value));
    *handle = reinterpret_cast<Handle>(object.get());
    objects_.emplace(object.get(), std::move(object));
    return CUBLAS_STATUS_SUCCESS;
  }
  // Null if there is no such object. It stays until its handle is destroyed.
  T* Find(const void* handle) {
    std::lock_guard lock(mu_);
    const auto found = objects_.find(handle);
    return found == objects_.end() ? nullptr : found->second.get();
  }
  cublasStatus_t Destroy(const void* handle, const char* call) {
    const cublasStatus_t failed = Failed(call);
    std::lock_guard lock(mu_);
    if (objects_.erase(handle) == 1) return failed;
    Misuse(cudaErrorInvalidValue, "cublasLt: what is destroyed does not exist");
    return CUBLAS_STATUS_INVALID_VALUE;
  }

 private:
  std::mutex mu_;
  std::map<const void*, std::unique_ptr<T>> objects_;
};

template <class T>
T* Find(const void* handle) {
  return Handles<T>::All().Find(handle);
}

template <class T>
cublasStatus_t Take(T* field, const void* value, size_t bytes) {
  if (bytes != sizeof(T)) return CUBLAS_STATUS_INVALID_VALUE;
  std::memcpy(field, value, bytes);
  return CUBLAS_STATUS_SUCCESS;
}

}  // namespace
}  // namespace ptxsim

using namespace ptxsim;

cublasStatus_t cublasLtCreate(cublasLtHandle_t* handle) {
  return Handles<Library>::All().Make(handle, {}, __func__);
}
cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle) {
  return Handles<Library>::All().Destroy(handle, __func__);
}
size_t cublasLtGetVersion() { return 130000; }
size_t cublasLtGetCudartVersion() { return CUDART_VERSION; }
const char* cublasLtGetStatusName(cublasStatus_t status) {
  switch (status) {
    case CUBLAS_STATUS_SUCCESS:
      return "CUBLAS_STATUS_SUCCESS";
    case CUBLAS_STATUS_ALLOC_FAILED:
      return "CUBLAS_STATUS_ALLOC_FAILED";
    case CUBLAS_STATUS_EXECUTION_FAILED:
      return "CUBLAS_STATUS_EXECUTION_FAILED";
    default:
      return "CUBLAS_STATUS_(an error)";
  }
}
const char* cublasLtGetStatusString(cublasStatus_t status) { return cublasLtGetStatusName(status); }

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t* d, cublasComputeType_t compute,
                                        cudaDataType_t scale) {
  if (compute != CUBLAS_COMPUTE_32F || scale != CUDA_R_32F) return CUBLAS_STATUS_NOT_SUPPORTED;
  return Handles<Description>::All().Make(d, {}, __func__);
}
cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t d) {
  return Handles<Description>::All().Destroy(d, __func__);
}

cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t handle,
                                              cublasLtMatmulDescAttributes_t attribute, const void* value,
                                              size_t bytes) {
  if (cublasStatus_t failed = Failed(__func__); failed != CUBLAS_STATUS_SUCCESS) return failed;
  Description* d = Find<Description>(handle);
  if (d == nullptr) return Wrong("a handle of what does not exist");
  switch (attribute) {
    case CUBLASLT_MATMUL_DESC_TRANSA:
      return Take(&d->transpose_a, value, bytes);
    case CUBLASLT_MATMUL_DESC_TRANSB:
      return Take(&d->transpose_b, value, bytes);
    case CUBLASLT_MATMUL_DESC_EPILOGUE:
      return Take(&d->epilogue, value, bytes);
    case CUBLASLT_MATMUL_DESC_BIAS_POINTER:
      return Take(&d->bias, value, bytes);
    case CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE:
      return Take(&d->bias_type, value, bytes);
    case CUBLASLT_MATMUL_DESC_POINTER_MODE: {
      int32_t mode = 0;
      cublasStatus_t status = Take(&mode, value, bytes);
      return status == CUBLAS_STATUS_SUCCESS && mode != CUBLASLT_POINTER_MODE_HOST
                 ? CUBLAS_STATUS_NOT_SUPPORTED
                 : status;
    }
    default:
      return CUBLAS_STATUS_NOT_SUPPORTED;
  }
}

cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t* l, cudaDataType_t type, uint64_t rows,
                                          uint64_t cols, int64_t stride) {
  return Handles<Layout>::All().Make(l, {type, rows, cols, stride}, __func__);
}
cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t l) {
  return Handles<Layout>::All().Destroy(l, __func__);
}
cublasStatus_t cublasLtMatrixLayoutSetAttribute(cublasLtMatrixLayout_t handle,
                                                cublasLtMatrixLayoutAttribute_t attribute, const void* value,
                                                size_t bytes) {
  if (cublasStatus_t failed = Failed(__func__); failed != CUBLAS_STATUS_SUCCESS) return failed;
  Layout* l = Find<Layout>(handle);
  if (l == nullptr) return Wrong("a handle of what does not exist");
  switch (attribute) {
    case CUBLASLT_MATRIX_LAYOUT_ORDER:
      return Take(&l->order, value, bytes);
    case CUBLASLT_MATRIX_LAYOUT_ROWS:
      return Take(&l->rows, value, bytes);
    case CUBLASLT_MATRIX_LAYOUT_COLS:
      return Take(&l->cols, value, bytes);
    case CUBLASLT_MATRIX_LAYOUT_LD:
      return Take(&l->stride, value, bytes);
    case CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT:
      return Take(&l->batches, value, bytes);
    case CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET:
      return Take(&l->batch_stride, value, bytes);
    default:
      return CUBLAS_STATUS_NOT_SUPPORTED;
  }
}

cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t* p) {
  return Handles<Preference>::All().Make(p, {}, __func__);
}
cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t p) {
  return Handles<Preference>::All().Destroy(p, __func__);
}
cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t handle,
                                                    cublasLtMatmulPreferenceAttributes_t attribute,
                                                    const void* value, size_t bytes) {
  if (cublasStatus_t failed = Failed(__func__); failed != CUBLAS_STATUS_SUCCESS) return failed;
  Preference* p = Find<Preference>(handle);
  if (p == nullptr) return Wrong("a handle of what does not exist");
  switch (attribute) {
    case CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES:
      return Take(&p->workspace, value, bytes);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES:
      return Take(&p->alignment[0], value, bytes);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES:
      return Take(&p->alignment[1], value, bytes);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES:
      return Take(&p->alignment[2], value, bytes);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES:
      return Take(&p->alignment[3], value, bytes);
    default:
      return CUBLAS_STATUS_SUCCESS;
  }
}

// There is one algorithm. It claims all of the workspace and alignment that it may have, so that a matmul
// with less is found.
cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t, cublasLtMatmulDesc_t d,
                                              cublasLtMatrixLayout_t, cublasLtMatrixLayout_t,
                                              cublasLtMatrixLayout_t, cublasLtMatrixLayout_t,
                                              cublasLtMatmulPreference_t p, int requested,
                                              cublasLtMatmulHeuristicResult_t* results, int* found) {
  if (cublasStatus_t failed = Failed(__func__); failed != CUBLAS_STATUS_SUCCESS) return failed;
  if (requested < 1) return CUBLAS_STATUS_INVALID_VALUE;
  const Description* description = Find<Description>(d);
  if (description == nullptr) return Wrong("a handle of what does not exist");
  if (description->epilogue == CUBLASLT_EPILOGUE_BIAS && description->bias == nullptr)
    return Wrong("an algorithm is chosen before the bias is known");
  const Preference* found_preference = Find<Preference>(p);
  const Preference preference = found_preference == nullptr ? Preference{} : *found_preference;
  *results = {};
  results->workspaceSize = preference.workspace;
  Promise(preference.workspace, preference.alignment, &results->algo);
  results->wavesCount = 1;
  *found = 1;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t, cublasLtMatmulDesc_t d, const void* alpha, const void* a,
                              cublasLtMatrixLayout_t layout_a, const void* b, cublasLtMatrixLayout_t layout_b,
                              const void* beta, const void* c, cublasLtMatrixLayout_t layout_c, void* out,
                              cublasLtMatrixLayout_t layout_out, const cublasLtMatmulAlgo_t* algorithm,
                              void* workspace, size_t workspace_bytes, cudaStream_t stream) {
  if (cublasStatus_t failed = Failed(__func__); failed != CUBLAS_STATUS_SUCCESS) return failed;
  RuntimeLock lock;
  const Description* description = Find<Description>(d);
  const Layout *of_a = Find<Layout>(layout_a), *of_b = Find<Layout>(layout_b),
               *of_out = Find<Layout>(layout_out),
               *of_c = layout_c == nullptr ? of_out : Find<Layout>(layout_c);
  if (description == nullptr || of_a == nullptr || of_b == nullptr || of_c == nullptr || of_out == nullptr) {
    return Wrong("a handle of what does not exist");
  }
  auto p = std::make_shared<Product>();
  p->d = *description;
  p->a = *of_a, p->b = *of_b, p->c = *of_c, p->out = *of_out;
  p->m = p->d.transpose_a == CUBLAS_OP_N ? p->a.rows : p->a.cols;
  p->k = p->d.transpose_a == CUBLAS_OP_N ? p->a.cols : p->a.rows;
  p->n = p->d.transpose_b == CUBLAS_OP_N ? p->b.cols : p->b.rows;
  p->alpha = *static_cast<const float*>(alpha), p->beta = *static_cast<const float*>(beta);
  p->pa = a, p->pb = b, p->pc = c, p->pd = out;
  if (cublasStatus_t status = CheckProduct(*p, algorithm, workspace, workspace_bytes);
      status != CUBLAS_STATUS_SUCCESS)
    return status;
  cudaError_t error = Enqueue(stream, cudaGraphNodeTypeKernel, [p] { Multiply(*p); });
  return error == cudaSuccess ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_EXECUTION_FAILED;
}
