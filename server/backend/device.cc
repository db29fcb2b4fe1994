#include "server/backend/device.h"

#include <dlfcn.h>

#include <filesystem>

#include "server/backend/device_errors.h"
#include "server/base/status.h"
#include "server/base/status_macros.h"

namespace hydrad {
namespace {

// The library stays loaded: code of it runs until the process ends.
absl::StatusOr<std::unique_ptr<Backend>> OpenCuda(const DeviceOptions& options) {
  if (options.cpu.weight_type != DType::kBf16) {
    return FailedPrecondition("CUDA serves bf16 weights only");
  }
  std::error_code error;
  if (!std::filesystem::exists(options.cuda_library, error)) {
    return Unavailable("there is no {}: this build has no CUDA", options.cuda_library);
  }
  void* library = dlopen(options.cuda_library.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) return Unavailable("{}", dlerror());
  const auto open = reinterpret_cast<decltype(&hydrad_open_cuda)>(dlsym(library, "hydrad_open_cuda"));
  if (open == nullptr) return Unavailable("{}", dlerror());
  absl::Status status;
  std::unique_ptr<Backend> backend(open(options.cuda, status));
  RETURN_IF_ERROR(status);
  return backend;
}

bool MayFallBack(const absl::Status& status) {
  if (IsDeviceLost(status)) return false;
  return absl::IsUnavailable(status) || absl::IsFailedPrecondition(status);
}

}  // namespace

absl::StatusOr<Device> OpenDevice(const DeviceOptions& options) {
  Device device;
  if (options.device != "cpu") {
    absl::StatusOr<std::unique_ptr<Backend>> cuda = OpenCuda(options);
    if (cuda.ok()) {
      device.backend = *std::move(cuda);
      return device;
    }
    if (options.device == "cuda" || !MayFallBack(cuda.status()))
      return Annotate(cuda.status(), "--device cuda");
    device.fell_back = std::string(cuda.status().message());
  }
  device.backend = MakeCpuBackend(options.cpu);
  return device;
}

std::string CudaLibraryPath() {
  std::error_code error;
  const std::filesystem::path program = std::filesystem::read_symlink("/proc/self/exe", error);
  return (program.parent_path().parent_path() / "lib" / "hydrad_cuda.so").string();
}

}  // namespace hydrad
