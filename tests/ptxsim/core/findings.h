// What the checks found: printed at once, kept until somebody takes it, and counted for ptxsim_check().
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace ptxsim {

// Thread-safe. `message` stands on one line: what, where in the source, which kernel, block and thread.
void AddFinding(const std::string& message);

size_t FindingCount();  // since the last TakeFindings
std::vector<std::string> TakeFindings();
std::string FindingAt(size_t index);

// Whether findings are also printed to stderr as they come (default true).
void SetPrintFindings(bool print);

}  // namespace ptxsim
