// What the scheduler (warp.cc), control flow (control_flow.cc) and the barriers (barriers.cc) do with a
// warp's lanes.
#pragma once

#include <cstdint>

#include "core/exec.h"

namespace ptxsim {

// Lanes that can run from `pc` on; they join those that are there already.
void MakeReady(Warp& warp, int32_t pc, uint32_t lanes);
// Lanes that wait at `pc` for the barrier, or with -1 for the rest of their warp.
void Park(Warp& warp, int32_t pc, uint32_t lanes, int barrier);
// What the first of the lanes has in a register of 32 bits.
uint32_t LaneValue(Warp& warp, Ref ref, uint32_t lanes);

// `lanes` stand at `instr`, which is at `pc`, and `taken` of them are to run it (the guard lets them): makes
// all of them ready where they go on, parks them or ends them. For everything but plain instructions.
void Control(Warp& warp, const Instr& instr, int32_t pc, uint32_t lanes, uint32_t taken);

// Lanes arrive at a barrier instruction. True if they wait (bar.arrive does not).
bool ArriveAtBarrier(Warp& warp, const Instr& instr, int32_t pc, uint32_t lanes);
// Releases barrier `id` if everybody it waits for is there.
void TryRelease(Block& block, int id);

}  // namespace ptxsim
