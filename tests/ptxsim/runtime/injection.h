// Failures that are asked for, so that a program can be shown what a device may do to it.
//
// Every call of the runtime and of cuBLASLt that can fail asks Injected first; so it has a number, from 1 up.
// A failure is planned for one of these numbers: that call returns the error and does nothing else. Calls
// that give something back (and those that end a capture) do it all the same, as NVIDIA's do when what they
// report is an earlier call's error. After a failure by which the device is lost every call returns that
// error, and what is queued is dropped: it never ran.
//
// Thread-safe.
#pragma once

#include <cstdint>

#include <cuda_runtime_api.h>

namespace ptxsim {

// The error that this call is to return, remembered as this thread's last; cudaSuccess for nearly all.
cudaError_t Injected(const char* call);

// Whether a failure has taken the device away.
bool DeviceLost();

// The `call`-th call from now on returns `error`; 0: none does. Takes the place of what was planned.
void PlanFailure(uint64_t call, cudaError_t error, bool lost);

// Calls since the last PlanFailure that could have failed.
uint64_t CallCount();
// The name of the call that returned the planned error; null if none has yet.
const char* FailedCall();

// Nothing is planned, and a lost device is back.
void ClearFailure();

}  // namespace ptxsim
