#include "runtime/matmul.h"

#include <algorithm>
#include <chrono>
#include <utility>
#include <vector>

#include "core/fault_report.h"
#include "core/options.h"
#include "core/ptx_types.h"
#include "core/simulated_memory.h"
#include "runtime/error.h"

namespace ptxsim {
namespace {

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

}  // namespace

cublasStatus_t Wrong(const std::string& what) {
  Misuse(cudaErrorInvalidValue, "cublasLtMatmul: " + what);
  return CUBLAS_STATUS_INVALID_VALUE;
}

void Promise(size_t workspace, const std::array<uint32_t, 4>& alignment, cublasLtMatmulAlgo_t* algorithm) {
  algorithm->data[0] = workspace;
  algorithm->data[1] = 0;
  for (int i = 0; i < 4; ++i) algorithm->data[1] |= uint64_t{alignment[static_cast<size_t>(i)]} << 16 * i;
}

cublasStatus_t CheckProduct(const Product& p, const cublasLtMatmulAlgo_t* algorithm, const void* workspace,
                            size_t workspace_bytes) {
  cublasStatus_t status =
      algorithm == nullptr ? CUBLAS_STATUS_SUCCESS : CheckPromises(p, *algorithm, workspace_bytes);
  if (status == CUBLAS_STATUS_SUCCESS) status = CheckShapes(p);
  return status == CUBLAS_STATUS_SUCCESS ? CheckPointers(p, workspace, workspace_bytes) : status;
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

}  // namespace ptxsim
