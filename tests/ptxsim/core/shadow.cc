#include "core/shadow.h"

#include <algorithm>
#include <cstring>

#include "core/exec.h"

namespace ptxsim {

RaceChecker& RaceChecker::Get() {
  static RaceChecker* checker = new RaceChecker;
  return *checker;
}

void RaceChecker::BeginLaunch() {
  launch_start_ = Tick();
  block_starts_.clear();
  releases_.clear();
}

void RaceChecker::BeginBlock(Block& block) {
  block.start_time = Tick();
  block_starts_.push_back(block.start_time);
  acquired_.clear();
  for (Warp& warp : block.warps) {
    warp.seen.fill(block.start_time);
    warp.seen_min = block.start_time;
    warp.fence = 0;
  }
}

void RaceChecker::SyncWarp(Warp& warp) {
  warp.seen[static_cast<size_t>(warp.id)] = Tick();
  warp.seen_min = *std::min_element(warp.seen.begin(), warp.seen.begin() + warp.block->warps.size());
}

void RaceChecker::SyncBlock(Block& block, uint32_t warps, uint32_t arrived_only) {
  uint32_t time = Tick();
  std::array<uint32_t, 32> joined{};
  for (const Warp& warp : block.warps) {
    if (!((warps | arrived_only) >> warp.id & 1)) continue;
    for (size_t o = 0; o < joined.size(); ++o) joined[o] = std::max(joined[o], warp.seen[o]);
    joined[static_cast<size_t>(warp.id)] = time;
  }
  for (Warp& warp : block.warps) {
    if (!(warps >> warp.id & 1)) continue;
    warp.seen = joined;
    warp.seen_min = *std::min_element(joined.begin(), joined.begin() + block.warps.size());
  }
}

void RaceChecker::Fence(Warp& warp) { warp.fence = Tick(); }

// Every release that another block has left at this address reaches the running block, and its own is added.
void RaceChecker::Atomic(Warp& warp, uint64_t address) {
  auto it = releases_.find(address);
  const Block& block = *warp.block;
  if (it != releases_.end()) {
    for (const Release& release : it->second) {
      auto& known = acquired_[release.block];
      for (size_t w = 0; w < known.size(); ++w) known[w] = std::max(known[w], release.until[w]);
    }
  }
  bool fenced =
      std::any_of(block.warps.begin(), block.warps.end(), [](const Warp& w) { return w.fence != 0; });
  if (!fenced) return;
  Release release{block.order, {}};
  for (const Warp& other : block.warps) {
    size_t o = static_cast<size_t>(other.id);
    uint32_t seen = other.id == warp.id ? now_ : warp.seen[o];
    uint32_t by_own_fence =
        warp.fence >= warp.seen[o] || other.id == warp.id ? std::min(seen, warp.fence) : 0;
    release.until[o] = std::max(by_own_fence, std::min(seen, other.fence));
  }
  releases_[address].push_back(release);
}

bool RaceChecker::OtherBlockReleased(uint32_t time, uint16_t other, bool strong) const {
  auto next = std::upper_bound(block_starts_.begin(), block_starts_.end(), time);
  auto it = acquired_.find(static_cast<int>(next - block_starts_.begin()) - 1);
  return it != acquired_.end() && (strong || time < it->second[other / kWarpSize]);
}

bool RaceChecker::Ordered(const Warp& warp, int thread, uint32_t time, uint16_t other, bool global,
                          bool strong) const {
  if (global && time < launch_start_) return true;
  if (global && time < warp.block->start_time) return OtherBlockReleased(time, other, strong);
  return time < warp.seen_min || other == thread || time < warp.seen[other / kWarpSize];
}

namespace {

std::string With(const Warp& warp, uint16_t thread, int32_t pc, uint32_t time) {
  std::string where =
      time < warp.block->start_time ? "a thread of another block" : "thread " + std::to_string(thread);
  return " with " + where + " " + Where(*warp.block->kernel, pc);
}

// Lanes of this warp wrote different bytes of the word, so the remembered one need not be the one that
// counts.
bool SharedWord(const Warp& warp, const Cell& cell, uint8_t mask) {
  return mask != 0xf && cell.written != mask && cell.write_thread / kWarpSize == warp.id;
}

}  // namespace

void RaceChecker::CheckRead(Warp& warp, const Instr& instr, int thread, Cell* cell, uint8_t mask,
                            const AccessKind& kind, bool global) {
  int lane = thread % kWarpSize;
  if (cell->flags & kInFlight && cell->written & mask) {
    return Warn(warp, instr, lane, "read of a cp.async destination before its wait_group");
  }
  if ((cell->initialised & mask) != mask) {
    return Warn(warp, instr, lane,
                std::string("read of uninitialised ") + (global ? "global" : "shared") + " memory");
  }
  if (!(cell->written & mask) || (kind.strong && cell->flags & kStrongWrite) || cell->flags & kCasWrite)
    return;
  if (SharedWord(warp, *cell, mask)) return;
  if (!Ordered(warp, thread, cell->write_time, cell->write_thread, global, cell->flags & kStrongWrite)) {
    Warn(warp, instr, lane,
         std::string("race: read after write in ") + (global ? "global" : "shared") + " memory",
         With(warp, cell->write_thread, cell->write_pc, cell->write_time));
  }
}

void RaceChecker::CheckWrite(Warp& warp, const Instr& instr, int thread, Cell* cell, uint8_t mask,
                             const AccessKind& kind, bool global) {
  int lane = thread % kWarpSize;
  const char* memory = global ? "global memory" : "shared memory";
  bool both_strong = kind.strong && cell->flags & kStrongWrite;
  if (cell->written & mask && !both_strong && !kind.read && !SharedWord(warp, *cell, mask) &&
      !Ordered(warp, thread, cell->write_time, cell->write_thread, global, cell->flags & kStrongWrite)) {
    Warn(warp, instr, lane, std::string("race: write after write in ") + memory,
         With(warp, cell->write_thread, cell->write_pc, cell->write_time));
  }
  if (!(cell->read & mask) || cell->read_time == 0 || both_strong || kind.swaps) return;
  bool ordered = Ordered(warp, thread, cell->read_time, cell->read_thread, global, false);
  if (ordered && cell->read_time >= warp.block->start_time && cell->read_time >= warp.seen_min) {
    bool own_warp = cell->read_thread / kWarpSize == warp.id;
    uint32_t own_sync = warp.seen[static_cast<size_t>(warp.id)];
    ordered =
        !(cell->flags & kManyWarps) && !(own_warp && cell->flags & kManyLanes && cell->read_time >= own_sync);
  }
  if (!ordered) {
    Warn(warp, instr, lane, std::string("race: write after read in ") + memory,
         With(warp, cell->read_thread, cell->read_pc, cell->read_time));
  }
}

void RaceChecker::RecordRead(Warp& warp, const Instr& instr, int thread, Cell* cell, uint8_t mask) {
  uint8_t many = 0;
  if (cell->read_time >= warp.seen_min && cell->read_time >= warp.block->start_time && cell->read & mask) {
    many = cell->flags & (kManyWarps | kManyLanes);
    if (cell->read_thread / kWarpSize != warp.id) {
      many |= kManyWarps;
    } else if (cell->read_time < warp.seen[static_cast<size_t>(warp.id)]) {
      many &= static_cast<uint8_t>(~kManyLanes);
    } else if (cell->read_thread != thread) {
      many |= kManyLanes;
    }
  }
  cell->flags = static_cast<uint8_t>((cell->flags & ~(kManyWarps | kManyLanes)) | many);
  cell->read = many != 0 ? cell->read | mask : mask;
  cell->read_time = now_;
  cell->read_thread = static_cast<uint16_t>(thread);
  cell->read_pc = static_cast<int32_t>(&instr - warp.block->kernel->code.data());
}

void RaceChecker::RecordWrite(const Warp& warp, const Instr& instr, int thread, Cell* cell, uint8_t mask,
                              const AccessKind& kind) {
  int32_t pc = static_cast<int32_t>(&instr - warp.block->kernel->code.data());
  bool same_instruction = cell->write_time == now_ && cell->write_pc == pc;
  cell->written = same_instruction && cell->write_thread / kWarpSize == warp.id ? cell->written | mask : mask;
  cell->initialised |= mask;
  cell->write_time = now_;
  cell->write_pc = pc;
  cell->write_thread = static_cast<uint16_t>(thread);
  uint8_t kept = cell->flags & (kManyWarps | kManyLanes);
  cell->flags = static_cast<uint8_t>(kept | (kind.strong ? kStrongWrite : 0) | (kind.swaps ? kCasWrite : 0) |
                                     (kind.starts_flight ? kInFlight : 0));
}

void RaceChecker::Access(Warp& warp, const Instr& instr, int lane, Cell* cells, uint64_t address,
                         unsigned bytes, const AccessKind& kind, bool global) {
  int thread = warp.Thread(lane);
  unsigned words = bytes < 4 ? 1 : bytes / 4;
  uint8_t mask = static_cast<uint8_t>(bytes < 4 ? ((1u << bytes) - 1) << (address & 3) : 0xf);
  int32_t pc = static_cast<int32_t>(&instr - warp.block->kernel->code.data());
  for (unsigned i = 0; i < words; ++i) {
    Cell* cell = cells + i;
    if (kind.read) CheckRead(warp, instr, thread, cell, mask, kind, global);
    if (kind.write) {
      // Lanes of one instruction that write the same value to one place have no order to get wrong.
      bool same = kind.value != nullptr && cell->write_time == now_ && cell->write_pc == pc &&
                  cell->write_thread / kWarpSize == warp.id &&
                  std::memcmp(kind.value, reinterpret_cast<const void*>(address), bytes) == 0;
      if (!same) CheckWrite(warp, instr, thread, cell, mask, kind, global);
      RecordWrite(warp, instr, thread, cell, mask, kind);
    } else if (kind.read) {
      RecordRead(warp, instr, thread, cell, mask);
    }
  }
}

}  // namespace ptxsim
