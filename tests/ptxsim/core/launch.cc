#include <algorithm>
#include <bit>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <functional>
#include <mutex>
#include <numeric>
#include <set>
#include <thread>

#include "core/exec.h"
#include "core/fault_report.h"
#include "core/findings.h"
#include "core/module.h"
#include "core/simulated_memory.h"
#include "core/specials.h"

namespace ptxsim {
namespace {

std::mutex warned_mutex;
std::set<std::pair<const Instr*, std::string>> warned;  // since ForgetWarnings

// ---- a block's memory and registers

void PrepareShared(Launch& launch) {
  const Kernel& k = *launch.kernel;
  launch.shared_granules.assign((kDynamicShared + launch.dynamic_shared + kRedZone) / 16 + 1, 0);
  auto allow = [&](uint32_t offset, uint32_t bytes) {
    std::fill_n(launch.shared_granules.begin() + offset / 16, bytes / 16, uint8_t{16});
    if (bytes % 16 != 0) launch.shared_granules[offset / 16 + bytes / 16] = bytes % 16;
  };
  for (const Extent& e : k.shared_vars) allow(e.offset, e.bytes);
  allow(kDynamicShared, launch.dynamic_shared);
}

// A worker's block, kept between launches so that its buffers are.
void PrepareBlock(Block& block, Launch& launch, Counters* counters) {
  const Kernel& k = *launch.kernel;
  block.launch = &launch;
  block.kernel = &k;
  block.counters = counters;
  block.threads = static_cast<int>(launch.block.count());
  size_t warps = static_cast<size_t>((block.threads + kWarpSize - 1) / kWarpSize);
  block.warps.resize(warps);
  size_t per_warp = (k.register_bytes + 4095) / 4096 * 4096 + 320;  // not all warps on the same cache sets
  if (block.registers.size() < warps * per_warp + 64) block.registers.resize(warps * per_warp + 64);
  block.specials.resize(warps * kSpecialBytes);
  block.shared.resize(kDynamicShared + launch.dynamic_shared + kRedZone);
  if (launch.checks == Checks::kFull) block.shared_cells.resize(block.shared.size() / 4 + 1);
  block.local.assign(static_cast<size_t>(block.threads) * k.local_bytes + 16, std::byte{0xff});
  uintptr_t base = (reinterpret_cast<uintptr_t>(block.registers.data()) + 63) & ~uintptr_t{63};
  for (size_t w = 0; w < warps; ++w) {
    Warp& warp = block.warps[w];
    warp.files[kRegisters] = reinterpret_cast<std::byte*>(base + w * per_warp);
    warp.files[kConstants] = const_cast<std::byte*>(k.constants.data());
    warp.files[kSpecials] = &block.specials[w * kSpecialBytes];
    FillSpecials(warp.files[kSpecials], launch, static_cast<int>(w));
  }
}

// Fresh shared memory: 0xff, and never written.
void ResetShared(Block& block) {
  const Kernel& k = *block.kernel;
  auto reset = [&](uint32_t offset, uint32_t bytes) {
    if (bytes == 0) return;
    std::memset(&block.shared[offset], 0xff, bytes);
    if (block.launch->checks == Checks::kFull)
      std::memset(&block.shared_cells[offset / 4], 0, (bytes + 3) / 4 * sizeof(Cell));
  };
  reset(kSharedBase, k.shared_end - kSharedBase);
  reset(kDynamicShared, block.launch->dynamic_shared);
}

// ---- the order of blocks

Dim3 BlockIndex(const Launch& launch, uint64_t linear) {
  const Dim3& g = launch.grid;
  return {static_cast<uint32_t>(linear % g.x), static_cast<uint32_t>(linear / g.x % g.y),
          static_cast<uint32_t>(linear / g.x / g.y)};
}

// The n-th block to run: a permutation of [0, count).
uint64_t Permute(uint64_t n, uint64_t count, uint64_t schedule) {
  if (schedule == 0 || count == 1) return n;
  if (schedule == 1) return count - 1 - n;
  uint64_t step = (schedule * 0x9e3779b97f4a7c15 >> 20) % count;
  while (std::gcd(step, count) != 1) ++step;
  return (n * step + schedule) % count;
}

// ---- workers

// A pool of threads that help with one launch at a time.
class Helpers {
 public:
  static Helpers& Get() {
    static Helpers* helpers = new Helpers;
    return *helpers;
  }

  // Runs `work` on the calling thread and, as soon as they wake, on `count` others; returns when all are
  // done.
  void Run(int count, const std::function<void()>& work) {
    {
      std::lock_guard lock(mutex_);
      while (static_cast<int>(threads_.size()) < count) threads_.emplace_back([this] { Loop(); }).detach();
      work_ = &work;
      wanted_ = count;
    }
    wake_.notify_all();
    work();
    std::unique_lock lock(mutex_);
    wanted_ = 0;  // whoever has not begun need not
    idle_.wait(lock, [this] { return running_ == 0; });
    work_ = nullptr;
  }

 private:
  void Loop() {
    std::unique_lock lock(mutex_);
    for (;;) {
      wake_.wait(lock, [this] { return wanted_ > 0; });
      --wanted_;
      ++running_;
      const auto* work = work_;
      lock.unlock();
      (*work)();
      lock.lock();
      if (--running_ == 0) idle_.notify_all();
    }
  }

  std::mutex mutex_;
  std::condition_variable wake_, idle_;
  std::vector<std::thread> threads_;
  const std::function<void()>* work_ = nullptr;
  int wanted_ = 0, running_ = 0;
};

void RunBlocks(Launch& launch, std::atomic<uint64_t>& next, Counters* counters) {
  thread_local Block block;
  PrepareBlock(block, launch, counters);
  const uint64_t count = launch.grid.count();
  for (uint64_t n; (n = next.fetch_add(1, std::memory_order_relaxed)) < count;) {
    if (launch.stop.load(std::memory_order_relaxed)) return;
    Dim3 index = BlockIndex(launch, Permute(n, count, launch.schedule));
    for (size_t w = 0; w < block.warps.size(); ++w) SetBlockSpecials(block.warps[w].files[kSpecials], index);
    ResetShared(block);
    RunBlock(block, index, static_cast<int>(n));
  }
}

}  // namespace

std::string Where(const Kernel& kernel, int32_t pc) {
  const Instr& instr = kernel.code[static_cast<size_t>(pc)];
  const Place& place = kernel.places[static_cast<size_t>(instr.place)];
  std::string at = "at ";
  if (place.line != 0) at += place.file + ":" + std::to_string(place.line);
  if (place.outer_line != 0) {
    at += " (inlined at " + place.outer_file + ":" + std::to_string(place.outer_line) + ")";
  }
  if (place.line != 0) at += ", ";
  return at + "PTX line " + std::to_string(instr.line) + " (" + kernel.opcodes[static_cast<size_t>(pc)] + ")";
}

std::string Describe(const Warp& warp, const Instr& instr, int lane) {
  const Block& b = *warp.block;
  const Dim3& t = b.launch->block;
  uint32_t thread = static_cast<uint32_t>(warp.Thread(lane));
  auto triple = [](uint32_t x, uint32_t y, uint32_t z) {
    return "(" + std::to_string(x) + "," + std::to_string(y) + "," + std::to_string(z) + ")";
  };
  return b.kernel->demangled.substr(0, 200) + " block " + triple(b.index.x, b.index.y, b.index.z) +
         " thread " + triple(thread % t.x, thread / t.x % t.y, thread / t.x / t.y) + " " +
         Where(*b.kernel, static_cast<int32_t>(&instr - b.kernel->code.data()));
}

void Warn(Warp& warp, const Instr& instr, int lane, const std::string& what, const std::string& detail) {
  {
    std::lock_guard lock(warned_mutex);
    if (!warned.emplace(&instr, what).second) return;
  }
  AddFinding(what + ": " + Describe(warp, instr, lane) + detail);
}

void ForgetWarnings() {
  std::lock_guard lock(warned_mutex);
  warned.clear();
}

void Fault(Warp& warp, const Instr& instr, int lane, const std::string& what) {
  warp.block->stopped = true;
  if (!warp.block->launch->stop.exchange(true)) AddFinding(what + ": " + Describe(warp, instr, lane));
}

bool Run(Launch& launch) {
  auto begin = std::chrono::steady_clock::now();
  PrepareShared(launch);
  size_t findings = FindingCount();
  if (launch.counting) BeginDistinct();
  if (launch.checks == Checks::kFull) RaceChecker::Get().BeginLaunch();
  const uint64_t blocks = launch.grid.count();
  int workers = launch.checks == Checks::kFull || launch.counting ? 1 : std::max(GetOptions().threads, 1);
  workers = static_cast<int>(
      std::min<uint64_t>(static_cast<uint64_t>(workers), blocks / 2));  // waking one has a price
  launch.parallel = workers > 1;
  std::atomic<uint64_t> next{0};
  Counters total;
  std::mutex mutex;
  auto work = [&] {
    Counters counters;
    if (launch.counting) counters.sites.resize(launch.kernel->code.size());
    RunBlocks(launch, next, &counters);
    std::lock_guard lock(mutex);
    total.Add(counters);
  };
  if (workers > 1)
    Helpers::Get().Run(workers - 1, work);
  else
    work();
  total.kernel = launch.kernel->demangled;
  total.threads_per_block = launch.block.count();
  total.shared_bytes = launch.kernel->static_shared + launch.dynamic_shared;
  total.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  RecordLaunch(*launch.kernel, std::move(total));
  return FindingCount() == findings;
}

}  // namespace ptxsim
