// The door of hydrad_cuda.so.
#include "server/backend/cuda/cuda_backend.h"

extern "C" __attribute__((visibility("default"))) hydrad::Backend* hydrad_open_cuda(
    const hydrad::CudaBackendOptions& options, absl::Status& status) {
  absl::StatusOr<std::unique_ptr<hydrad::Backend>> backend = hydrad::MakeCudaBackend(options);
  status = backend.status();
  return backend.ok() ? backend->release() : nullptr;
}
