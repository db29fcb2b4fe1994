// CUDA's error codes at the border of this room.
#ifndef HYDRAD_SERVER_BACKEND_CUDA_CUDA_STATUS_H_
#define HYDRAD_SERVER_BACKEND_CUDA_CUDA_STATUS_H_

#include <cublasLt.h>
#include <cuda_runtime_api.h>

#include "server/base/status.h"

namespace hydrad {

// For what the world may cause: memory that is not there is RESOURCE_EXHAUSTED, a missing driver or device
// UNAVAILABLE, the rest INTERNAL. `what` says what was tried. Takes the error back, so that the next call
// does not report it again.
inline absl::Status CudaStatus(cudaError_t error, std::string_view what) {
  if (error == cudaSuccess) return absl::OkStatus();
  cudaGetLastError();
  const char* text = cudaGetErrorString(error);
  switch (error) {
    case cudaErrorMemoryAllocation:
      return ResourceExhausted("{}: {}", what, text);
    case cudaErrorNoDevice:
    case cudaErrorInsufficientDriver:
    case cudaErrorSystemDriverMismatch:
    case cudaErrorNoKernelImageForDevice:
      return Unavailable("{}: {}", what, text);
    default:
      return Internal("{}: {}", what, text);
  }
}

// For what cannot fail unless the device or this program is broken, inside a step above all.
[[noreturn]] inline void CudaFailed(const char* file, int line, const char* call, const char* text) {
  std::fprintf(stderr, "%s:%d: %s: %s\n", file, line, call, text);
  std::abort();
}

}  // namespace hydrad

#define HYDRAD_CUDA_CHECK(call)                                                    \
  do {                                                                             \
    if (const cudaError_t error_ = (call); error_ != cudaSuccess)                  \
      ::hydrad::CudaFailed(__FILE__, __LINE__, #call, cudaGetErrorString(error_)); \
  } while (false)

#define HYDRAD_CUBLAS_CHECK(call)                                                        \
  do {                                                                                   \
    if (const cublasStatus_t status_ = (call); status_ != CUBLAS_STATUS_SUCCESS)         \
      ::hydrad::CudaFailed(__FILE__, __LINE__, #call, cublasLtGetStatusString(status_)); \
  } while (false)

#endif  // HYDRAD_SERVER_BACKEND_CUDA_CUDA_STATUS_H_
