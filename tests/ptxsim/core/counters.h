// What a launch moved: counted per instruction over the 32 lanes, as the memory system would see it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/program.h"

namespace ptxsim {

struct Warp;

// The accesses of one instruction, or the sum over a launch.
struct Traffic {
  uint64_t requests = 0;          // warp instructions
  uint64_t bytes = 0;             // that the lanes asked for
  uint64_t sectors = 0;           // 32-byte sectors that moved (global)
  uint64_t distinct = 0;          // sectors touched for the first time in this launch
  uint64_t wavefronts = 0;        // passes through shared memory
  uint64_t ideal_wavefronts = 0;  // if there were no bank conflicts

  void Add(const Traffic& other);
};

struct Counters {
  std::string kernel;
  uint64_t blocks = 0;
  uint64_t threads_per_block = 0;
  uint64_t shared_bytes = 0;
  uint64_t warp_instructions = 0;
  uint64_t thread_instructions = 0;
  uint64_t mma = 0;
  uint64_t barriers = 0;
  Traffic reads, writes, shared;
  double seconds = 0;
  std::vector<Traffic> sites;  // by instruction, if counting

  void Add(const Counters& other);
};

// `address` has one entry per lane; shared ones are offsets.
void CountGlobal(Warp& warp, const Instr& instr, uint32_t lanes, const uint64_t* address, unsigned bytes,
                 bool write);
void CountShared(Warp& warp, const Instr& instr, uint32_t lanes, const uint64_t* address, unsigned bytes);

// Starts a launch's count of distinct sectors.
void BeginDistinct();

}  // namespace ptxsim
