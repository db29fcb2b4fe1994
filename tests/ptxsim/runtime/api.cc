// ptxsim.h, and what happens when a program ends without having looked at its findings.
#include "ptxsim.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "core/exec.h"
#include "core/fault_report.h"
#include "core/findings.h"
#include "core/options.h"
#include "core/simulated_memory.h"
#include "runtime/error.h"
#include "runtime/injection.h"
#include "runtime/stream.h"

namespace ptxsim {
namespace {

constexpr int kExitCode = 86;

size_t Check() {
  RuntimeLock lock;
  DrainAll();
  return FindingCount();
}

size_t Finding(size_t index, char* text, size_t bytes) {
  std::string finding = FindingAt(index);
  if (bytes > 0) {
    size_t copied = std::min(bytes - 1, finding.size());
    std::memcpy(text, finding.data(), copied);
    text[copied] = 0;
  }
  return finding.size();
}

void Clear() {
  RuntimeLock lock;
  TakeFindings();
  ForgetWarnings();
  ClearSticky();
  ClearFailure();
}

void SetChecks(int level) {
  RuntimeLock lock;
  Checks before = GetOptions().checks;
  GetOptions().checks = static_cast<Checks>(level);
  if (before != Checks::kFull && level == PTXSIM_CHECKS_FULL) DeviceMemory::Get().MarkAllWritten();
}

int LaunchCounters(size_t index, ptxsim_counters* out) {
  Counters c;
  if (!LaunchAt(index, &c)) return 0;
  *out = {};
  std::snprintf(out->kernel, sizeof(out->kernel), "%s", c.kernel.c_str());
  out->blocks = c.blocks, out->threads_per_block = c.threads_per_block, out->shared_bytes = c.shared_bytes;
  out->warp_instructions = c.warp_instructions, out->thread_instructions = c.thread_instructions;
  out->mma = c.mma, out->barriers = c.barriers;
  auto set = [](const Traffic& t, uint64_t* asked, uint64_t* moved, uint64_t* distinct) {
    *asked = t.bytes, *moved = 32 * t.sectors, *distinct = 32 * t.distinct;
  };
  set(c.reads, &out->read_asked, &out->read_moved, &out->read_distinct);
  set(c.writes, &out->written_asked, &out->written_moved, &out->written_distinct);
  out->shared_requests = c.shared.requests;
  out->wavefronts = c.shared.wavefronts, out->ideal_wavefronts = c.shared.ideal_wavefronts;
  out->seconds = c.seconds;
  return 1;
}

const ptxsim_api kApi = {
    sizeof(ptxsim_api),
    Check,
    Finding,
    Clear,
    [](int on) { SetPrintFindings(on != 0); },
    SetChecks,
    [](uint64_t schedule) { GetOptions().schedule = schedule; },
    [](int on) { GetOptions().lazy_streams = on != 0; },
    [](int on) { GetOptions().count = on != 0; },
    [](int threads) { GetOptions().threads = threads; },
    [](uint64_t instructions) { GetOptions().block_limit = instructions; },
    [](uint64_t bytes) { GetOptions().device_bytes = bytes; },
    LaunchCount,
    LaunchCounters,
    ClearLaunches,
    [](uint64_t call, int error, int lost) { PlanFailure(call, static_cast<cudaError_t>(error), lost != 0); },
    CallCount,
    FailedCall,
};

// A program that ends with findings has failed, whatever it returns.
[[gnu::destructor]] void AtExit() {
  size_t count = FindingCount();
  if (count == 0) return;
  std::fprintf(stderr, "ptxsim: %zu findings that nobody cleared, exit status %d\n", count, kExitCode);
  std::fflush(nullptr);
  _exit(kExitCode);
}

}  // namespace
}  // namespace ptxsim

extern "C" const ptxsim_api* ptxsim_api_of_this_library() { return &ptxsim::kApi; }
