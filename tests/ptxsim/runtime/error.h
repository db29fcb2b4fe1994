// The runtime's error state: the last error of each thread, and one that sticks once a kernel has gone wrong.
#pragma once

#include <string>

#include <cuda_runtime_api.h>

namespace ptxsim {

// Remembers `error` as this thread's last and returns it.
cudaError_t Fail(cudaError_t error);
// The same, with a finding: for misuse that a program should not even try.
cudaError_t Misuse(cudaError_t error, const std::string& what);

// Of a name ("cudaErrorIllegalAddress") or a number; cudaSuccess of anything else.
cudaError_t ErrorNamed(const std::string& name);

// Set when a kernel stopped or a check found something; every call reports it until ClearSticky.
void SetSticky(cudaError_t error);
cudaError_t Sticky();
void ClearSticky();

}  // namespace ptxsim
