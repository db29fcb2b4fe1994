// Barriers of a block: who is there, what they tell each other, and when they go on.
#include <bit>
#include <cstddef>

#include "core/warp.h"

namespace ptxsim {
namespace {

struct BarrierState {
  uint32_t threads = 0;     // parked, plus what bar.arrive brought
  uint32_t full_warps = 0;  // the same, counting a warp that is there as a whole as 32
  uint32_t warps = 0;       // mask of those with parked lanes
};

BarrierState Survey(const Block& block, int id) {
  BarrierState s;
  for (const Warp& warp : block.warps) {
    uint32_t lanes = 0;
    for (const Parked& p : warp.parked) lanes |= p.barrier == id ? p.lanes : 0;
    if (lanes == 0) continue;
    s.warps |= 1u << warp.id;
    s.threads += static_cast<uint32_t>(std::popcount(lanes));
    s.full_warps += lanes == warp.alive ? kWarpSize : static_cast<uint32_t>(std::popcount(lanes));
  }
  const Barrier& barrier = block.barriers[static_cast<size_t>(id)];
  s.threads += barrier.arrived;
  s.full_warps += barrier.arrived;
  return s;
}

bool SameSource(const Kernel& k, int32_t a, int32_t b) {
  const Place &p = k.places[static_cast<size_t>(k.code[static_cast<size_t>(a)].place)],
              &q = k.places[static_cast<size_t>(k.code[static_cast<size_t>(b)].place)];
  if (p.line == 0 || q.line == 0) return a == b;
  return p.line == q.line && p.outer_line == q.outer_line && p.file == q.file;
}

// __syncthreads() must be reached by all threads at one place of the source.
void CheckUniform(Block& block, int id) {
  int32_t first = -1;
  for (Warp& warp : block.warps) {
    for (const Parked& p : warp.parked) {
      if (p.barrier != id) continue;
      if (first < 0) first = p.pc;
      if (SameSource(*block.kernel, first, p.pc)) continue;
      Warn(warp, block.kernel->code[static_cast<size_t>(p.pc)], std::countr_zero(p.lanes),
           "divergent barrier: threads of one block meet at different barriers",
           ", others " + Where(*block.kernel, first));
    }
  }
}

// bar.red: how many, whether all, or whether any of the participants' predicates hold.
void Reduce(Block& block, int id) {
  uint32_t total = 0, holds = 0;
  auto for_each = [&](auto f) {
    for (Warp& warp : block.warps) {
      for (const Parked& p : warp.parked) {
        if (p.barrier == id) f(warp, block.kernel->code[static_cast<size_t>(p.pc)], p.lanes);
      }
    }
  };
  for_each([&](Warp& warp, const Instr& instr, uint32_t lanes) {
    if (instr.sub == 0) return;
    uint32_t bits = *warp.At<uint32_t>(instr.r[1]) ^ static_cast<uint32_t>(instr.imm);
    total += static_cast<uint32_t>(std::popcount(lanes));
    holds += static_cast<uint32_t>(std::popcount(bits & lanes));
  });
  for_each([&](Warp& warp, const Instr& instr, uint32_t lanes) {
    if (instr.sub == 0) return;
    if (instr.sub == 1) {
      for (int lane = 0; lane < kWarpSize; ++lane) {
        if (lanes >> lane & 1) warp.At<uint32_t>(instr.r[0])[lane] = holds;
      }
      return;
    }
    uint32_t result = (instr.sub == 2 ? holds == total : holds != 0) ? lanes : 0;
    uint32_t* to = warp.At<uint32_t>(instr.r[0]);
    *to = (*to & ~lanes) | result;
  });
}

void ReleaseBarrier(Block& block, int id, uint32_t participants) {
  Barrier& barrier = block.barriers[static_cast<size_t>(id)];
  if (barrier.expected == 0) CheckUniform(block, id);
  Reduce(block, id);
  uint32_t silent = barrier.arrivers;
  for (const Warp& warp : block.warps) silent |= warp.alive == 0 ? 1u << warp.id : 0;
  if (block.launch->checks == Checks::kFull) RaceChecker::Get().SyncBlock(block, participants, silent);
  for (Warp& warp : block.warps) {
    for (size_t i = 0; i < warp.parked.size();) {
      if (warp.parked[i].barrier != id) {
        ++i;
        continue;
      }
      MakeReady(warp, warp.parked[i].pc + 1, warp.parked[i].lanes);
      warp.parked.erase(warp.parked.begin() + static_cast<std::ptrdiff_t>(i));
    }
  }
  barrier = {};
  ++block.counters->barriers;
}

}  // namespace

void TryRelease(Block& block, int id) {
  const Barrier& barrier = block.barriers[static_cast<size_t>(id)];
  BarrierState s = Survey(block, id);
  if (s.warps == 0) return;
  bool complete = barrier.expected != 0 ? s.full_warps >= barrier.expected
                                        : s.threads == static_cast<uint32_t>(block.alive_threads());
  if (complete) ReleaseBarrier(block, id, s.warps);
}

bool ArriveAtBarrier(Warp& warp, const Instr& instr, int32_t pc, uint32_t lanes) {
  Block& block = *warp.block;
  int id = static_cast<int>(LaneValue(warp, instr.r[2], lanes) & 15);
  Barrier& barrier = block.barriers[static_cast<size_t>(id)];
  uint32_t expected = instr.count > 1 ? LaneValue(warp, instr.r[3], lanes) : 0;
  bool occupied = barrier.arrived != 0 || Survey(block, id).warps != 0;
  if (occupied && barrier.expected != expected) {
    Warn(warp, instr, std::countr_zero(lanes), "divergent barrier: threads disagree on how many it is for");
  }
  barrier.expected = expected;
  bool arrive_only = instr.sub == 4;
  if (arrive_only) {
    barrier.arrived += lanes == warp.alive ? kWarpSize : static_cast<uint32_t>(std::popcount(lanes));
    barrier.arrivers |= 1u << warp.id;
  } else {
    Park(warp, pc, lanes, id);
  }
  TryRelease(block, id);
  return !arrive_only;
}

}  // namespace ptxsim
