// The state of a running kernel: a launch, its blocks (one at a time per worker thread), their warps.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/counters.h"
#include "core/options.h"
#include "core/program.h"
#include "core/shadow.h"

namespace ptxsim {

struct Dim3 {
  uint32_t x = 1, y = 1, z = 1;
  uint64_t count() const { return uint64_t{x} * y * z; }
};

struct Launch {
  const Kernel* kernel;
  Dim3 grid, block;
  uint32_t dynamic_shared = 0;
  std::vector<std::byte> params;
  Checks checks = Checks::kFull;
  bool counting = false;
  bool parallel = false;  // other workers run blocks of this launch at the same time
  uint64_t schedule = 0;
  std::atomic<bool> stop{false};         // a fatal finding: every block ends as soon as it can
  std::vector<uint8_t> shared_granules;  // as in DeviceMemory, for the block's shared memory
};

// Lanes of a warp that stand at the same instruction.
struct Fragment {
  int32_t pc;
  uint32_t lanes;
};

// Lanes that wait, and for what.
struct Parked : Fragment {
  int barrier;  // -1: for the rest of the warp (a .sync instruction), else the barrier's number
};

// One lane's cp.async: the bytes move when it is waited for, its destination holds 0xff until then.
struct PendingCopy {
  uint32_t to;           // shared offset
  uint8_t bytes, valid;  // the rest is filled with zeros
  uint8_t lane;
  const std::byte* from;
  uint32_t group;
};

struct Block;

struct Warp {
  std::array<std::byte*, 3> files{};  // by File
  Block* block = nullptr;
  int id = 0;
  uint32_t alive = 0;
  std::vector<Fragment> ready;  // ascending by pc, no two at the same
  std::vector<Parked> parked;
  std::vector<PendingCopy> copies;              // in the order of issue
  std::array<uint32_t, kWarpSize> committed{};  // groups closed, by lane
  // For the race checks: everything that warp w did before seen[w] is ordered before what this one does next.
  std::array<uint32_t, 32> seen{};
  uint32_t seen_min = 0;
  uint32_t fence = 0;  // time of the last fence

  template <class T>
  T* At(Ref ref) {
    return reinterpret_cast<T*>(files[ref.file] + ref.offset);
  }
  int Thread(int lane) const { return id * kWarpSize + lane; }
};

struct Barrier {
  uint32_t arrived = 0;   // bar.arrive's contribution, in threads
  uint32_t arrivers = 0;  // and its warps
  uint32_t expected = 0;  // threads; 0: all of the block
};

struct Block {
  Launch* launch = nullptr;
  const Kernel* kernel = nullptr;
  Dim3 index{0, 0, 0};
  int order = 0;  // how many blocks of the launch began before
  int threads = 0;
  uint32_t start_time = 0;
  std::vector<Warp> warps;
  std::array<Barrier, 16> barriers{};
  std::vector<std::byte> registers, specials, shared, local;
  std::vector<Cell> shared_cells;
  Counters* counters = nullptr;
  uint64_t instructions = 0;
  bool stopped = false;
  uint64_t random = 1;  // state of the schedule's generator

  int alive_threads() const;
};

// "at kernel.cu:12, PTX line 345 (ld.global.f32)".
std::string Where(const Kernel& kernel, int32_t pc);
// "kernel<float>(...) block (0,0,0) thread 5 at ...".
std::string Describe(const Warp& warp, const Instr& instr, int lane);

// Reports `what` once per instruction until ForgetWarnings; the kernel goes on.
void Warn(Warp& warp, const Instr& instr, int lane, const std::string& what, const std::string& detail = "");
void ForgetWarnings();
// Reports and stops the launch.
void Fault(Warp& warp, const Instr& instr, int lane, const std::string& what);

// Runs one block to its end; false if it was stopped.
bool RunBlock(Block& block, Dim3 index, int order);

// Runs a launch, blocks side by side where the checks permit. False: a fatal finding stopped it.
bool Run(Launch& launch);

}  // namespace ptxsim
