// The CPU behind the device seam: kernels/simd over host memory.
#ifndef HYDRAD_SERVER_BACKEND_CPU_CPU_BACKEND_H_
#define HYDRAD_SERVER_BACKEND_CPU_CPU_BACKEND_H_

#include <memory>

#include "server/backend/backend.h"

namespace hydrad {

struct CpuBackendOptions {
  int threads = 0;                   // workers, the scheduler thread included; 0: one per usable core
  DType weight_type = DType::kBf16;  // kBf16 or kF32; of adapters and of the KV cache too
};

// Activations are f32. See Backend for threads and errors. Scratch grows with the largest step, so a step
// allocates only while it is the largest yet.
std::unique_ptr<Backend> MakeCpuBackend(const CpuBackendOptions& options);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_BACKEND_CPU_CPU_BACKEND_H_
