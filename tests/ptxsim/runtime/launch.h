// Kernels as the host knows them: by the address of a stub that nvcc's registration code announced.
#pragma once

#include <cuda_runtime_api.h>

#include "runtime/graph.h"

namespace ptxsim {

// What is known of a registered kernel; null if `function` is none, or its PTX cannot be read (a finding says
// why).
struct HostFunction {
  const Kernel* kernel = nullptr;
  int max_dynamic_shared = 48 * 1024;
};
HostFunction* FindFunction(const void* function);

inline constexpr int kMaxSharedPerBlock = 227 * 1024;

// Validates a launch and copies its arguments.
cudaError_t MakeCall(const void* function, dim3 grid, dim3 block, void** arguments, size_t dynamic_shared,
                     KernelCall* call);

}  // namespace ptxsim
