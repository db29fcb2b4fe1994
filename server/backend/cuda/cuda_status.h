// CUDA's error codes at the border of this room.
#ifndef HYDRAD_SERVER_BACKEND_CUDA_CUDA_STATUS_H_
#define HYDRAD_SERVER_BACKEND_CUDA_CUDA_STATUS_H_

#include <absl/status/status.h>

#include <cublasLt.h>
#include <cuda_runtime_api.h>

namespace hydrad {

// `what` says what was tried. Memory that is not there is RESOURCE_EXHAUSTED, a missing driver or device
// UNAVAILABLE. An error after which CUDA does nothing more in this process is UNAVAILABLE with the reason
// kDeviceLost, every other one INTERNAL with kDeviceError (server/backend/device_errors.h). CudaStatus takes
// the error back, so that the next call does not report it again.
absl::Status CudaStatus(cudaError_t error, std::string_view what);
// The library's own errors do not say whether the device is lost: CUDA's last error is asked, and where that
// knows nothing either, the next call of CUDA tells.
absl::Status CublasStatus(cublasStatus_t status, std::string_view what);

// For after a failure: returns when nothing is under way on `stream` any more, so that the memory of what was
// can be used again. The failure, or that the device is lost if it does not come to rest.
absl::Status Settle(cudaStream_t stream, absl::Status failure);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_BACKEND_CUDA_CUDA_STATUS_H_
