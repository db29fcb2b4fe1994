// The product that cublasLtMatmul makes: D = alpha * op(A) op(B) + beta * C [+ bias], column major, strided
// batches, bf16, f16 or f32 inputs, sums in f32. It checks what the library leaves to crash: shapes, leading
// dimensions, whether operands, bias and workspace lie wholly in device memory and are as aligned as was
// promised, and whether the memory it reads was ever written (a row or column of the result that depends on
// unwritten memory counts as unwritten). Used under RuntimeLock.
#pragma once

#include <cublasLt.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>

namespace ptxsim {

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

struct Product {
  Description d;
  Layout a, b, c, out;
  uint64_t m, n, k;
  float alpha, beta;
  const void *pa, *pb, *pc;
  void* pd;
};

// A finding; INVALID_VALUE.
cublasStatus_t Wrong(const std::string& what);

// An algorithm that wants `workspace` bytes and pointers A, B, C, D of such alignment (powers of two).
void Promise(size_t workspace, const std::array<uint32_t, 4>& alignment, cublasLtMatmulAlgo_t* algorithm);
// What is wrong with the call; `algorithm` may be null.
cublasStatus_t CheckProduct(const Product& p, const cublasLtMatmulAlgo_t* algorithm, const void* workspace,
                            size_t workspace_bytes);
// Makes it, of what the memory holds now.
void Multiply(const Product& p);

}  // namespace ptxsim
