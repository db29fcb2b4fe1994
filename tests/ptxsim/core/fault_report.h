// Counters of past launches: kept for the tests that ask (ptxsim.h), and written as JSON lines if so
// configured.
#pragma once

#include <cstddef>

#include "core/counters.h"

namespace ptxsim {

void RecordLaunch(const Kernel& kernel, Counters counters);

// A library call that is simulated by plain code, such as a matrix product: one launch with known traffic.
void RecordLibraryCall(const std::string& name, uint64_t read_bytes, uint64_t written_bytes, double seconds);

size_t LaunchCount();  // since the last ClearLaunches
bool LaunchAt(size_t index, Counters* counters);
void ClearLaunches();

}  // namespace ptxsim
