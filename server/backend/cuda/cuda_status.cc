#include "server/backend/cuda/cuda_status.h"

#include "server/backend/device_errors.h"
#include "server/base/status.h"

namespace hydrad {
namespace {

// Those of which NVIDIA's documentation says that the process is left "in an inconsistent state and any
// further CUDA work will return the same error", and those of hardware that has failed.
bool Loses(cudaError_t error) {
  switch (error) {
    case cudaErrorAssert:
    case cudaErrorContained:
    case cudaErrorContextIsDestroyed:
    case cudaErrorECCUncorrectable:
    case cudaErrorExternalDevice:
    case cudaErrorHardwareStackError:
    case cudaErrorIllegalAddress:
    case cudaErrorIllegalInstruction:
    case cudaErrorInvalidAddressSpace:
    case cudaErrorInvalidPc:
    case cudaErrorLaunchFailure:
    case cudaErrorLaunchTimeout:
    case cudaErrorMisalignedAddress:
    case cudaErrorMpsClientTerminated:
    case cudaErrorNvlinkUncorrectable:
    case cudaErrorTensorMemoryLeak:
      return true;
    default:
      return false;
  }
}

}  // namespace

absl::Status CudaStatus(cudaError_t error, std::string_view what) {
  if (error == cudaSuccess) return absl::OkStatus();
  cudaGetLastError();
  const char* text = cudaGetErrorString(error);
  if (Loses(error)) return Because(Unavailable("{}: {}", what, text), kDeviceLost);
  switch (error) {
    case cudaErrorMemoryAllocation:
      return ResourceExhausted("{}: {}", what, text);
    case cudaErrorNoDevice:
    case cudaErrorInsufficientDriver:
    case cudaErrorSystemDriverMismatch:
    case cudaErrorNoKernelImageForDevice:
      return Unavailable("{}: {}", what, text);
    default:
      return Because(Internal("{}: {}", what, text), kDeviceError);
  }
}

absl::Status CublasStatus(cublasStatus_t status, std::string_view what) {
  if (status == CUBLAS_STATUS_SUCCESS) return absl::OkStatus();
  if (const cudaError_t error = cudaGetLastError(); Loses(error)) return CudaStatus(error, what);
  return Because(Internal("{}: {}", what, cublasLtGetStatusString(status)), kDeviceError);
}

absl::Status Settle(cudaStream_t stream, absl::Status failure) {
  const absl::Status waited = CudaStatus(cudaStreamSynchronize(stream), "waiting for the device");
  if (waited.ok() || IsDeviceLost(failure)) return failure;
  return Because(Unavailable("{}; {}", std::string(failure.message()), std::string(waited.message())),
                 kDeviceLost);
}

}  // namespace hydrad
