// A stand-in for the part of cuBLASLt that a transformer needs: D = alpha * op(A) op(B) + beta * C [+ bias],
// column major, strided batches, bf16, f16 or f32 inputs, sums in f32. It checks what the library leaves to
// crash: shapes, leading dimensions, whether operands, bias and workspace lie wholly in device memory, and
// whether the memory it reads was ever written (a row or column of the result that depends on unwritten
// memory counts as unwritten).
#include <cublasLt.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "core/device_memory.h"
#include "core/options.h"
#include "core/report.h"
#include "core/types.h"
#include "runtime/error.h"
#include "runtime/stream.h"

namespace ptxsim {
namespace {

struct Description {
  cublasOperation_t transpose_a = CUBLAS_OP_N, transpose_b = CUBLAS_OP_N;
  cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_DEFAULT;
  const void* bias = nullptr;
  int bias_type = -1;  // default: the type of D
};

struct Layout {
  cudaDataType_t type;
  uint64_t rows, cols;
  int64_t stride;  // from one column to the next
  int32_t order = CUBLASLT_ORDER_COL;
  int32_t batches = 1;
  int64_t batch_stride = 0;

  uint64_t width() const { return type == CUDA_R_32F ? 4 : 2; }
  uint64_t bytes() const {
    uint64_t last = static_cast<uint64_t>(batch_stride) * static_cast<uint64_t>(batches - 1) +
                    static_cast<uint64_t>(stride) * (cols - 1) + rows;
    return last * width();
  }
};

struct Preference {
  size_t workspace = 0;
  std::array<uint32_t, 4> alignment = {256, 256, 256, 256};  // of A, B, C, D
};

// What the caller has promised of the pointers, in an algorithm: a power of two in every sixteen bits.
uint64_t Pack(const std::array<uint32_t, 4>& alignment) {
  return alignment[0] | uint64_t{alignment[1]} << 16 | uint64_t{alignment[2]} << 32 |
         uint64_t{alignment[3]} << 48;
}

struct Library {};

// The objects of one type behind opaque handles. A handle that has been destroyed, or never made, has none.
template <class T>
class Handles {
 public:
  static Handles& All() {
    static auto* handles = new Handles;  // outlives every static object that may hold a handle
    return *handles;
  }
  template <class Handle>
  cublasStatus_t Make(Handle* handle, T value) {
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
  cublasStatus_t Destroy(const void* handle) {
    std::lock_guard lock(mu_);
    if (objects_.erase(handle) == 1) return CUBLAS_STATUS_SUCCESS;
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

float Value(const void* p, cudaDataType_t type, uint64_t index) {
  if (type == CUDA_R_32F) return static_cast<const float*>(p)[index];
  uint16_t bits = static_cast<const uint16_t*>(p)[index];
  return type == CUDA_R_16BF ? BFloatBitsToFloat(bits) : HalfBitsToFloat(bits);
}

void Put(void* p, cudaDataType_t type, uint64_t index, float value) {
  if (type == CUDA_R_32F)
    static_cast<float*>(p)[index] = value;
  else
    static_cast<uint16_t*>(p)[index] =
        type == CUDA_R_16BF ? FloatToBFloatBits(value) : FloatToHalfBits(value);
}

bool KnownType(cudaDataType_t type) {
  return type == CUDA_R_32F || type == CUDA_R_16BF || type == CUDA_R_16F;
}

cublasStatus_t Wrong(const std::string& what) {
  Misuse(cudaErrorInvalidValue, "cublasLtMatmul: " + what);
  return CUBLAS_STATUS_INVALID_VALUE;
}

struct Product {
  Description d;
  Layout a, b, c, out;
  uint64_t m, n, k;
  float alpha, beta;
  const void *pa, *pb, *pc;
  void* pd;
};

// The vectors of one operand with k innermost: rows of op(A), columns of op(B).
struct Packed {
  std::vector<float> values;  // [count, k]
  std::vector<uint8_t> written;
};

Packed Pack(const Layout& l, const void* p, bool k_down_columns, uint64_t count, uint64_t k) {
  Packed packed{std::vector<float>(count * k), std::vector<uint8_t>(count, 1)};
  const bool check = GetOptions().checks == Checks::kFull;
  const uint64_t stride = static_cast<uint64_t>(l.stride);
  for (uint64_t i = 0; i < count; ++i) {
    float* to = &packed.values[i * k];
    const char* first = static_cast<const char*>(p) + (k_down_columns ? i * stride : i) * l.width();
    if (k_down_columns && l.type == CUDA_R_16BF) {
      const uint16_t* from = reinterpret_cast<const uint16_t*>(first);
      for (uint64_t q = 0; q < k; ++q) to[q] = BFloatBitsToFloat(from[q]);
    } else {
      for (uint64_t q = 0; q < k; ++q) to[q] = Value(first, l.type, k_down_columns ? q : q * stride);
    }
    if (!check) continue;
    if (k_down_columns) {
      packed.written[i] = DeviceMemory::Get().IsWritten(first, k * l.width());
    } else {
      for (uint64_t q = 0; q < k; ++q) {
        packed.written[i] &= DeviceMemory::Get().IsWritten(first + q * stride * l.width(), l.width());
      }
    }
  }
  return packed;
}

float Dot(const float* x, const float* y, uint64_t k) {
  constexpr uint64_t kWide = 32;
  float part[kWide] = {};
  uint64_t q = 0;
  for (; q + kWide <= k; q += kWide) {
    for (uint64_t j = 0; j < kWide; ++j) part[j] += x[q + j] * y[q + j];
  }
  float sum = 0;
  for (float p : part) sum += p;
  for (; q < k; ++q) sum += x[q] * y[q];
  return sum;
}

void MultiplyBatch(const Product& p, const void* pa, const void* pb, const void* pc, void* pd) {
  Packed a = Pack(p.a, pa, p.d.transpose_a != CUBLAS_OP_N, p.m, p.k);
  Packed b = Pack(p.b, pb, p.d.transpose_b == CUBLAS_OP_N, p.n, p.k);
  const bool bias = p.d.epilogue == CUBLASLT_EPILOGUE_BIAS;
  auto bias_type = static_cast<cudaDataType_t>(p.d.bias_type < 0 ? p.out.type : p.d.bias_type);
  for (uint64_t j = 0; j < p.n; ++j) {
    for (uint64_t i = 0; i < p.m; ++i) {
      float value = p.alpha * Dot(&a.values[i * p.k], &b.values[j * p.k], p.k);
      if (p.beta != 0) value += p.beta * Value(pc, p.c.type, i + j * static_cast<uint64_t>(p.c.stride));
      if (bias) value += Value(p.d.bias, bias_type, i);
      Put(pd, p.out.type, i + j * static_cast<uint64_t>(p.out.stride), value);
    }
  }
  if (GetOptions().checks != Checks::kFull) return;
  bool all_rows = std::all_of(a.written.begin(), a.written.end(), [](uint8_t w) { return w != 0; });
  for (uint64_t j = 0; j < p.n; ++j) {
    char* column = static_cast<char*>(pd) + j * static_cast<uint64_t>(p.out.stride) * p.out.width();
    DeviceMemory::Get().MarkWritten(column, p.m * p.out.width());
    if (!b.written[j]) DeviceMemory::Get().MarkUnwritten(column, p.m * p.out.width());
    for (uint64_t i = 0; !all_rows && b.written[j] && i < p.m; ++i) {
      if (!a.written[i]) DeviceMemory::Get().MarkUnwritten(column + i * p.out.width(), p.out.width());
    }
  }
}

void Multiply(const Product& p) {
  auto begin = std::chrono::steady_clock::now();
  for (auto [pointer, layout] :
       {std::pair(p.pa, &p.a), std::pair(p.pb, &p.b), std::pair<const void*, const Layout*>(p.pd, &p.out)}) {
    if (!DeviceMemory::Get().IsDevice(pointer, layout->bytes())) {
      Wrong("an operand has been freed before the product ran");
      return SetSticky(cudaErrorInvalidValue);
    }
  }
  auto at = [](const void* base, const Layout& l, int64_t batch) {
    return static_cast<const char*>(base) + batch * l.batch_stride * static_cast<int64_t>(l.width());
  };
  for (int32_t batch = 0; batch < p.out.batches; ++batch) {
    MultiplyBatch(p, at(p.pa, p.a, batch), at(p.pb, p.b, batch),
                  p.pc == nullptr ? nullptr : at(p.pc, p.c, batch),
                  const_cast<char*>(at(p.pd, p.out, batch)));
  }
  uint64_t batches = static_cast<uint64_t>(p.out.batches);
  uint64_t read = (p.m * p.k * p.a.width() + p.k * p.n * p.b.width()) * batches;
  if (p.beta != 0) read += p.m * p.n * p.c.width() * batches;
  RecordLibraryCall("cublasLtMatmul", read, p.m * p.n * p.out.width() * batches,
                    std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
}

cublasStatus_t CheckShapes(const Product& p) {
  auto shape = [](const char* name, const Layout& l) {
    return std::string(name) + " is " + std::to_string(l.rows) + "x" + std::to_string(l.cols);
  };
  if (p.k != (p.d.transpose_b == CUBLAS_OP_N ? p.b.rows : p.b.cols) || p.out.rows != p.m ||
      p.out.cols != p.n || (p.beta != 0 && (p.c.rows != p.m || p.c.cols != p.n))) {
    return Wrong("shapes do not match: " + shape("A", p.a) + ", " + shape("B", p.b) + ", " +
                 shape("D", p.out));
  }
  if (p.a.batches != p.out.batches || p.b.batches != p.out.batches) return Wrong("batch counts differ");
  for (const Layout* l : {&p.a, &p.b, &p.out}) {
    if (l->order != CUBLASLT_ORDER_COL) return Wrong("only column-major layouts are simulated");
    if (!KnownType(l->type)) return Wrong("only bf16, f16 and f32 matrices are simulated");
    if (l->rows == 0 || l->cols == 0 || l->stride < static_cast<int64_t>(l->rows))
      return Wrong("a bad leading dimension");
  }
  if (p.a.type != p.b.type) return Wrong("A and B differ in type");
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t CheckPointers(const Product& p, const void* workspace, size_t workspace_bytes) {
  auto bad = [](const void* pointer, size_t bytes, size_t align) {
    return !DeviceMemory::Get().IsDevice(pointer, bytes) || reinterpret_cast<uintptr_t>(pointer) % align != 0;
  };
  if (bad(p.pa, p.a.bytes(), p.a.width())) return Wrong("A is not wholly in device memory, or misaligned");
  if (bad(p.pb, p.b.bytes(), p.b.width())) return Wrong("B is not wholly in device memory, or misaligned");
  if (bad(p.pd, p.out.bytes(), p.out.width()))
    return Wrong("D is not wholly in device memory, or misaligned");
  if (p.beta != 0 && bad(p.pc, p.c.bytes(), p.c.width()))
    return Wrong("C is not wholly in device memory, or misaligned");
  if (workspace_bytes != 0 && bad(workspace, workspace_bytes, 16))
    return Wrong("the workspace is not wholly in device memory");
  if (p.d.epilogue == CUBLASLT_EPILOGUE_BIAS) {
    uint64_t width = p.d.bias_type == CUDA_R_32F || (p.d.bias_type < 0 && p.out.type == CUDA_R_32F) ? 4 : 2;
    if (bad(p.d.bias, p.m * width, width)) return Wrong("the bias is not wholly in device memory");
  } else if (p.d.epilogue != CUBLASLT_EPILOGUE_DEFAULT) {
    return Wrong("only the bias epilogue is simulated");
  }
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t CheckPromises(const Product& p, const cublasLtMatmulAlgo_t& algorithm,
                             size_t workspace_bytes) {
  if (algorithm.data[0] > workspace_bytes) return Wrong("less workspace than the algorithm needs");
  const void* pointers[] = {p.pa, p.pb, p.pc, p.pd};
  for (int i = 0; i < 4; ++i) {
    const uint64_t promised = algorithm.data[1] >> 16 * i & 0xffff;
    if (pointers[i] != nullptr && reinterpret_cast<uintptr_t>(pointers[i]) % promised != 0)
      return Wrong(std::string(1, "ABCD"[i]) + " is less aligned than the algorithm was chosen for");
  }
  return CUBLAS_STATUS_SUCCESS;
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

cublasStatus_t cublasLtCreate(cublasLtHandle_t* handle) { return Handles<Library>::All().Make(handle, {}); }
cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle) { return Handles<Library>::All().Destroy(handle); }
size_t cublasLtGetVersion() { return 130000; }
size_t cublasLtGetCudartVersion() { return CUDART_VERSION; }
const char* cublasLtGetStatusName(cublasStatus_t status) {
  return status == CUBLAS_STATUS_SUCCESS ? "CUBLAS_STATUS_SUCCESS" : "CUBLAS_STATUS_(an error)";
}
const char* cublasLtGetStatusString(cublasStatus_t status) { return cublasLtGetStatusName(status); }

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t* d, cublasComputeType_t compute,
                                        cudaDataType_t scale) {
  if (compute != CUBLAS_COMPUTE_32F || scale != CUDA_R_32F) return CUBLAS_STATUS_NOT_SUPPORTED;
  return Handles<Description>::All().Make(d, {});
}
cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t d) {
  return Handles<Description>::All().Destroy(d);
}

cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t handle,
                                              cublasLtMatmulDescAttributes_t attribute, const void* value,
                                              size_t bytes) {
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
  return Handles<Layout>::All().Make(l, {type, rows, cols, stride});
}
cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t l) {
  return Handles<Layout>::All().Destroy(l);
}
cublasStatus_t cublasLtMatrixLayoutSetAttribute(cublasLtMatrixLayout_t handle,
                                                cublasLtMatrixLayoutAttribute_t attribute, const void* value,
                                                size_t bytes) {
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
  return Handles<Preference>::All().Make(p, {});
}
cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t p) {
  return Handles<Preference>::All().Destroy(p);
}
cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t handle,
                                                    cublasLtMatmulPreferenceAttributes_t attribute,
                                                    const void* value, size_t bytes) {
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
  if (requested < 1) return CUBLAS_STATUS_INVALID_VALUE;
  const Description* description = Find<Description>(d);
  if (description == nullptr) return Wrong("a handle of what does not exist");
  if (description->epilogue == CUBLASLT_EPILOGUE_BIAS && description->bias == nullptr)
    return Wrong("an algorithm is chosen before the bias is known");
  const Preference* found_preference = Find<Preference>(p);
  const Preference preference = found_preference == nullptr ? Preference{} : *found_preference;
  *results = {};
  results->workspaceSize = preference.workspace;
  results->algo.data[0] = preference.workspace;
  results->algo.data[1] = Pack(preference.alignment);
  results->wavesCount = 1;
  *found = 1;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t, cublasLtMatmulDesc_t d, const void* alpha, const void* a,
                              cublasLtMatrixLayout_t layout_a, const void* b, cublasLtMatrixLayout_t layout_b,
                              const void* beta, const void* c, cublasLtMatrixLayout_t layout_c, void* out,
                              cublasLtMatrixLayout_t layout_out, const cublasLtMatmulAlgo_t* algorithm,
                              void* workspace, size_t workspace_bytes, cudaStream_t stream) {
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
  if (algorithm != nullptr) {
    if (cublasStatus_t status = CheckPromises(*p, *algorithm, workspace_bytes);
        status != CUBLAS_STATUS_SUCCESS)
      return status;
  }
  if (cublasStatus_t status = CheckShapes(*p); status != CUBLAS_STATUS_SUCCESS) return status;
  if (cublasStatus_t status = CheckPointers(*p, workspace, workspace_bytes); status != CUBLAS_STATUS_SUCCESS)
    return status;
  cudaError_t error = Enqueue(stream, cudaGraphNodeTypeKernel, [p] { Multiply(*p); });
  return error == cudaSuccess ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_EXECUTION_FAILED;
}
