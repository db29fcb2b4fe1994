// Which device the model runs on: what --device asks for, and what the machine has.
#ifndef HYDRAD_SERVER_BACKEND_DEVICE_H_
#define HYDRAD_SERVER_BACKEND_DEVICE_H_

#include <memory>
#include <string>

#include "server/backend/backend.h"
#include "server/backend/cpu/cpu_backend.h"
#include "server/backend/cuda/cuda_backend.h"

namespace hydrad {

struct DeviceOptions {
  std::string device = "auto";  // "auto", "cuda" or "cpu"
  std::string cuda_library;     // path of hydrad_cuda.so
  CpuBackendOptions cpu;        // cpu.weight_type f32 cannot be had of CUDA
  CudaBackendOptions cuda;
};

struct Device {
  std::unique_ptr<Backend> backend;
  std::string fell_back;  // why "auto" is not CUDA; empty when it is, or was not asked
};

// "cuda" fails where "auto" takes the CPU: UNAVAILABLE when hydrad_cuda.so, a library that it needs, the
// driver or a device is missing; FAILED_PRECONDITION for weights that CUDA does not serve. Other errors are
// those of the device and end "auto" too: a card that is there but has no room is no reason to serve a
// thousand times slower.
absl::StatusOr<Device> OpenDevice(const DeviceOptions& options);

// Where the build and the container put hydrad_cuda.so: ../lib/ from the directory of the running program.
std::string CudaLibraryPath();

}  // namespace hydrad

#endif  // HYDRAD_SERVER_BACKEND_DEVICE_H_
