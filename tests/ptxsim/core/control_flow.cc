// Branches, calls, ends and instructions of the whole warp: where the lanes of a fragment go on. Instructions
// of the .sync family park the lanes that arrive until all those named have.
#include <bit>
#include <cstring>

#include "core/warp.h"

namespace ptxsim {
namespace {

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

}  // namespace

void Control(Warp& warp, const Instr& instr, int32_t pc, uint32_t lanes, uint32_t taken) {
  uint32_t rest = lanes & ~taken;
  switch (instr.kind) {
    case Kind::kBranch:
      MakeReady(warp, instr.target, taken);
      break;
    case Kind::kBranchTable:
      BranchByTable(warp, instr, taken);
      break;
    case Kind::kCall:
      MakeReady(warp, Call(warp, instr, pc, taken), taken);
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
      if (!ArriveAtBarrier(warp, instr, pc, taken)) rest |= taken;
      break;
    case Kind::kWarpSync:
      if (uint32_t run = ArriveAtSync(warp, instr, pc, taken)) {
        instr.run(warp, instr, run);
        rest |= run;
      }
      break;
    case Kind::kPlain:
      break;
  }
  if (rest != 0) MakeReady(warp, pc + 1, rest);
}

}  // namespace ptxsim
