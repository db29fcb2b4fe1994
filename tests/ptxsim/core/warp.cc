// The scheduler: which lanes of which warp run next.
//
// A warp's lanes are kept as fragments, sets of lanes at one instruction. The fragment with the lowest
// address runs until it reaches the next one's, where they join: this follows the order in which nvcc lays
// out its blocks, so structured code reconverges where the hardware would bring it together.
#include <algorithm>
#include <bit>
#include <limits>

#include "core/exec.h"
#include "core/findings.h"
#include "core/warp.h"

namespace ptxsim {
namespace {

constexpr int32_t kNoLimit = std::numeric_limits<int32_t>::max();
constexpr int32_t kDefaultSlice = 1 << 20;

uint64_t NextRandom(Block& block) {  // xorshift
  uint64_t& x = block.random;
  x ^= x << 13, x ^= x >> 7, x ^= x << 17;
  return x;
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
      Control(warp, instr, f.pc, f.lanes, taken);
      f.lanes = 0;
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
