#include "runtime/injection.h"

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <mutex>
#include <string>

#include "core/options.h"
#include "runtime/error.h"

namespace ptxsim {
namespace {

struct Failure {
  uint64_t call = 0;  // 0: none is planned
  cudaError_t error = cudaSuccess;
  bool lost = false;
};

// What is planned and how far the program is. `lost` is apart because every operation in a queue reads it.
struct State {
  std::mutex mutex;
  Failure planned;
  uint64_t calls = 0;
  const char* failed = nullptr;
  std::atomic<cudaError_t> lost{cudaSuccess};
};

bool Read(const std::string& plan, Failure* failure) {
  char* end = nullptr;
  failure->call = std::strtoull(plan.c_str(), &end, 0);
  if (end == plan.c_str() || *end != ':') return false;
  std::string error = end + 1;
  const size_t colon = error.find(':');
  failure->lost = colon != error.npos;
  if (failure->lost && error.substr(colon) != ":lost") return false;
  failure->error = ErrorNamed(error.substr(0, colon));
  return failure->error != cudaSuccess;
}

State& Get() {
  static State* state = [] {
    auto* made = new State;
    const std::string& plan = GetOptions().fail;
    if (!plan.empty() && !Read(plan, &made->planned)) {
      std::fprintf(stderr, "ptxsim: PTXSIM_FAIL is not CALL:ERROR or CALL:ERROR:lost: %s\n", plan.c_str());
      std::abort();
    }
    return made;
  }();
  return *state;
}

// A plan that lies in the file of Options::fail_file is taken up, once.
void LookAtFile(State& state) {
  const std::string& name = GetOptions().fail_file;
  if (name.empty()) return;
  std::ifstream file(name);
  std::string plan;
  Failure failure;
  if (!(file >> plan) || !Read(plan, &failure)) return;
  std::remove(name.c_str());
  state.planned = failure;
  state.calls = 0;
  state.failed = nullptr;
}

}  // namespace

cudaError_t Injected(const char* call) {
  State& state = Get();
  std::lock_guard lock(state.mutex);
  LookAtFile(state);
  ++state.calls;
  if (const cudaError_t lost = state.lost; lost != cudaSuccess) return Fail(lost);
  if (state.calls != state.planned.call) return cudaSuccess;
  state.failed = call;
  if (state.planned.lost) state.lost = state.planned.error;
  return Fail(state.planned.error);
}

bool DeviceLost() { return Get().lost != cudaSuccess; }

void PlanFailure(uint64_t call, cudaError_t error, bool lost) {
  State& state = Get();
  std::lock_guard lock(state.mutex);
  state.planned = {call, error, lost};
  state.calls = 0;
  state.failed = nullptr;
}

uint64_t CallCount() {
  State& state = Get();
  std::lock_guard lock(state.mutex);
  return state.calls;
}

const char* FailedCall() {
  State& state = Get();
  std::lock_guard lock(state.mutex);
  return state.failed;
}

void ClearFailure() {
  PlanFailure(0, cudaSuccess, false);
  Get().lost = cudaSuccess;
}

}  // namespace ptxsim
