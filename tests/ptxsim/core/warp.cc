// The scheduler: which lanes of which warp run next.
//
// A warp's lanes are kept as fragments, sets of lanes at one instruction. The fragment with the lowest
// address runs until it reaches the next one's, where they join: this follows the order in which nvcc lays
// out its blocks, so structured code reconverges where the hardware would bring it together. Instructions of
// the .sync family park the lanes that arrive until all those named have.
#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>

#include "core/exec.h"
#include "core/findings.h"

namespace ptxsim {
namespace {

constexpr int32_t kNoLimit = std::numeric_limits<int32_t>::max();
constexpr int32_t kDefaultSlice = 1 << 20;

uint64_t NextRandom(Block& block) {  // xorshift
  uint64_t& x = block.random;
  x ^= x << 13, x ^= x >> 7, x ^= x << 17;
  return x;
}

void MakeReady(Warp& warp, int32_t pc, uint32_t lanes) {
  auto it = std::lower_bound(warp.ready.begin(), warp.ready.end(), pc,
                             [](const Fragment& f, int32_t at) { return f.pc < at; });
  if (it != warp.ready.end() && it->pc == pc)
    it->lanes |= lanes;
  else
    warp.ready.insert(it, {pc, lanes});
}

void Park(Warp& warp, int32_t pc, uint32_t lanes, int barrier) {
  for (Parked& p : warp.parked) {
    if (p.pc == pc && p.barrier == barrier) {
      p.lanes |= lanes;
      return;
    }
  }
  Parked parked;
  parked.pc = pc, parked.lanes = lanes, parked.barrier = barrier;
  warp.parked.push_back(parked);
}

uint32_t LaneValue(Warp& warp, Ref ref, uint32_t lanes) {
  return warp.At<uint32_t>(ref)[std::countr_zero(lanes)];
}

// ---- barriers

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

// Releases the barrier if everybody it waits for is there.
void TryRelease(Block& block, int id) {
  const Barrier& barrier = block.barriers[static_cast<size_t>(id)];
  BarrierState s = Survey(block, id);
  if (s.warps == 0) return;
  bool complete = barrier.expected != 0 ? s.full_warps >= barrier.expected
                                        : s.threads == static_cast<uint32_t>(block.alive_threads());
  if (complete) ReleaseBarrier(block, id, s.warps);
}

// Lanes arrive at a barrier instruction. True if they wait (bar.arrive does not).
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

// ---- instructions of the whole warp

// Which lanes a .sync instruction needs: those its membermask names, or all that live.
uint32_t Needed(Warp& warp, const Instr& instr, uint32_t lanes) {
  if (!instr.masked) return warp.alive;
  return LaneValue(warp, instr.r[13], lanes) & warp.alive;
}

// Lanes arrive at a .sync instruction. Those that may run it now; the others are parked.
uint32_t ArriveAtSync(Warp& warp, const Instr& instr, int32_t pc, uint32_t lanes) {
  if (lanes == warp.alive) return lanes;
  Park(warp, pc, lanes, -1);
  for (size_t i = 0; i < warp.parked.size(); ++i) {
    Parked& p = warp.parked[i];
    if (p.pc != pc || p.barrier != -1) continue;
    uint32_t needed = Needed(warp, instr, p.lanes), run = p.lanes & needed;
    if (needed == 0 || (p.lanes & needed) != needed) return 0;
    p.lanes &= ~run;
    if (p.lanes == 0) warp.parked.erase(warp.parked.begin() + static_cast<std::ptrdiff_t>(i));
    return run;
  }
  return 0;
}

// After an exit fewer lanes are needed: lets those go that waited only for the dead.
void RecheckParked(Warp& warp) {
  for (size_t i = 0; i < warp.parked.size();) {
    Parked p = warp.parked[i];
    const Instr& instr = warp.block->kernel->code[static_cast<size_t>(p.pc)];
    if (p.barrier != -1 || (Needed(warp, instr, p.lanes) & ~p.lanes) != 0) {
      ++i;
      continue;
    }
    warp.parked.erase(warp.parked.begin() + static_cast<std::ptrdiff_t>(i));
    MakeReady(warp, p.pc, p.lanes);
  }
}

// ---- control flow

void Exit(Warp& warp, const Instr& instr, uint32_t lanes) {
  warp.alive &= ~lanes;
  for (const PendingCopy& copy : warp.copies) {
    if (lanes >> copy.lane & 1 && warp.block->launch->checks == Checks::kFull) {
      Warn(warp, instr, copy.lane, "thread exits with a cp.async nobody waited for");
      break;
    }
  }
  RecheckParked(warp);
  for (int id = 0; id < static_cast<int>(warp.block->barriers.size()); ++id) TryRelease(*warp.block, id);
}

void MoveLocal(Block& block, const Warp& warp, const CallSite::Move& move, uint32_t lanes) {
  for (uint32_t rest = lanes; rest != 0; rest &= rest - 1) {
    size_t thread = static_cast<size_t>(warp.Thread(std::countr_zero(rest)));
    std::byte* base = &block.local[thread * block.kernel->local_bytes];
    std::memcpy(base + move.to, base + move.from, move.bytes);
  }
}

int32_t Call(Warp& warp, const Instr& instr, int32_t pc, uint32_t lanes) {
  const CallSite& site = warp.block->kernel->calls[static_cast<size_t>(instr.target)];
  for (const CallSite::Move& move : site.arguments) MoveLocal(*warp.block, warp, move, lanes);
  for (uint32_t rest = lanes; rest != 0; rest &= rest - 1) {
    warp.At<uint32_t>(site.return_address)[std::countr_zero(rest)] = static_cast<uint32_t>(pc);
  }
  return site.entry;
}

// Lanes go back behind the call each came from.
void Return(Warp& warp, const Instr& instr, uint32_t lanes) {
  const Kernel& kernel = *warp.block->kernel;
  while (lanes != 0) {
    const uint32_t* from = warp.At<uint32_t>(instr.r[0]);
    uint32_t pc = from[std::countr_zero(lanes)], group = 0;
    for (uint32_t rest = lanes; rest != 0; rest &= rest - 1) {
      if (from[std::countr_zero(rest)] == pc) group |= rest & -rest;
    }
    const CallSite& site = kernel.calls[static_cast<size_t>(kernel.code[pc].target)];
    for (const CallSite::Move& move : site.results) MoveLocal(*warp.block, warp, move, group);
    MakeReady(warp, static_cast<int32_t>(pc) + 1, group);
    lanes &= ~group;
  }
}

void BranchByTable(Warp& warp, const Instr& instr, uint32_t lanes) {
  const auto& table = warp.block->kernel->tables[static_cast<size_t>(instr.target)];
  const uint32_t* index = warp.At<uint32_t>(instr.r[0]);
  for (uint32_t rest = lanes; rest != 0; rest &= rest - 1) {
    int lane = std::countr_zero(rest);
    if (index[lane] >= table.size()) return Fault(warp, instr, lane, "branch index outside of its table");
    MakeReady(warp, table[index[lane]], rest & -rest);
  }
}

// Everything but plain instructions and branches that all lanes take together. What is left of the fragment
// goes on at *pc; zero if it has to be chosen anew.
uint32_t Control(Warp& warp, const Instr& instr, int32_t* pc, uint32_t lanes, uint32_t taken) {
  uint32_t rest = lanes & ~taken;
  int32_t next = *pc + 1;
  switch (instr.kind) {
    case Kind::kBranch:
      MakeReady(warp, instr.target, taken);
      break;
    case Kind::kBranchTable:
      BranchByTable(warp, instr, taken);
      break;
    case Kind::kCall:
      MakeReady(warp, Call(warp, instr, *pc, taken), taken);
      break;
    case Kind::kReturn:
      if (instr.sub == 1)
        Return(warp, instr, taken);
      else
        Exit(warp, instr, taken);
      break;
    case Kind::kExit:
      Exit(warp, instr, taken);
      break;
    case Kind::kBarrier:
      if (!ArriveAtBarrier(warp, instr, *pc, taken)) rest |= taken;
      break;
    case Kind::kWarpSync:
      if (uint32_t run = ArriveAtSync(warp, instr, *pc, taken)) {
        instr.run(warp, instr, run);
        rest |= run;
      }
      break;
    case Kind::kPlain:
      break;
  }
  if (rest != 0) MakeReady(warp, next, rest);
  return 0;
}

// Runs the lowest fragment until it meets the next one, waits, ends or uses up `slice`.
void RunFragment(Warp& warp, int32_t* slice) {
  Block& block = *warp.block;
  const Instr* code = block.kernel->code.data();
  Fragment f = warp.ready.front();
  warp.ready.erase(warp.ready.begin());
  const int32_t limit = warp.ready.empty() ? kNoLimit : warp.ready.front().pc;
  uint64_t steps = 0, lane_steps = 0;
  const uint64_t width = static_cast<uint64_t>(std::popcount(f.lanes));
  while (f.pc<limit&& * slice> 0 && !block.stopped) {
    const Instr& instr = code[f.pc];
    uint32_t taken = f.lanes;
    if (instr.guarded) taken &= *warp.At<uint32_t>(instr.guard) ^ (instr.guard_negated ? ~0u : 0);
    ++steps, --*slice;
    lane_steps += width;
    if (taken == 0) {
      ++f.pc;
    } else if (instr.kind == Kind::kPlain || (instr.kind == Kind::kWarpSync && taken == warp.alive)) {
      instr.run(warp, instr, taken);
      ++f.pc;
    } else if (instr.kind == Kind::kBranch && taken == f.lanes) {
      f.pc = instr.target;
    } else {
      f.lanes = Control(warp, instr, &f.pc, f.lanes, taken);
      break;
    }
  }
  if (f.lanes != 0) MakeReady(warp, f.pc, f.lanes);
  block.counters->warp_instructions += steps;
  block.counters->thread_instructions += lane_steps;
  block.instructions += steps;
}

// Runs a warp until it waits, ends or has had its turn. False if it could not run at all.
bool RunWarp(Warp& warp) {
  if (warp.ready.empty()) return false;
  int32_t slice = kDefaultSlice;
  if (warp.block->launch->schedule > 1) slice = static_cast<int32_t>(16 + NextRandom(*warp.block) % 500);
  while (!warp.ready.empty() && slice > 0 && !warp.block->stopped) RunFragment(warp, &slice);
  return true;
}

void ReportDeadlock(Block& block) {
  std::string waiting;
  Warp* first = nullptr;
  int listed = 0;
  for (Warp& warp : block.warps) {
    for (const Parked& p : warp.parked) {
      if (first == nullptr) first = &warp;
      if (++listed > 40) continue;
      waiting += "; warp " + std::to_string(warp.id) + (p.barrier < 0 ? " waits for its lanes " : " waits ") +
                 Where(*block.kernel, p.pc);
    }
  }
  const Parked& p = first->parked.front();
  Fault(*first, block.kernel->code[static_cast<size_t>(p.pc)], std::countr_zero(p.lanes),
        "deadlock: a barrier or warp operation that not all of its threads reach" + waiting);
}

void SetUpWarp(Block& block, Warp& warp, int id) {
  warp.block = &block;
  warp.id = id;
  int lanes = std::min(kWarpSize, block.threads - id * kWarpSize);
  warp.alive = lanes == kWarpSize ? kAllLanes : (1u << lanes) - 1;
  warp.ready.assign(1, {block.kernel->entry, warp.alive});
  warp.parked.clear();
  warp.copies.clear();
  warp.committed.fill(0);
}

// Order in which the warps get their turns.
std::vector<int> WarpOrder(Block& block) {
  std::vector<int> order(block.warps.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = static_cast<int>(i);
  if (block.launch->schedule == 1) std::reverse(order.begin(), order.end());
  if (block.launch->schedule > 1) {
    for (size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[NextRandom(block) % i]);
  }
  return order;
}

}  // namespace

int Block::alive_threads() const {
  int count = 0;
  for (const Warp& warp : warps) count += std::popcount(warp.alive);
  return count;
}

bool RunBlock(Block& block, Dim3 index, int order) {
  block.index = index;
  block.order = order;
  block.instructions = 0;
  block.stopped = false;
  block.random =
      (block.launch->schedule * 0x9e3779b97f4a7c15 + static_cast<uint64_t>(order) * 0xbf58476d1ce4e5b9) | 1;
  block.barriers.fill({});
  for (size_t i = 0; i < block.warps.size(); ++i) SetUpWarp(block, block.warps[i], static_cast<int>(i));
  if (block.launch->checks == Checks::kFull) RaceChecker::Get().BeginBlock(block);
  for (bool any = true; any && !block.stopped;) {
    any = false;
    for (int w : WarpOrder(block)) any |= RunWarp(block.warps[static_cast<size_t>(w)]);
    if (block.launch->stop.load(std::memory_order_relaxed)) block.stopped = true;
    if (block.instructions > GetOptions().block_limit && !block.stopped) {
      for (Warp& warp : block.warps) {
        if (warp.ready.empty()) continue;
        const Fragment f = warp.ready.front();
        Fault(warp, block.kernel->code[static_cast<size_t>(f.pc)], std::countr_zero(f.lanes),
              "the block reached its instruction limit, it seems to hang");
        break;
      }
    }
  }
  if (!block.stopped && block.alive_threads() > 0) ReportDeadlock(block);
  ++block.counters->blocks;
  return !block.stopped;
}

}  // namespace ptxsim
