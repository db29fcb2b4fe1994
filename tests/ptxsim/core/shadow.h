// The race and initialisation checks: a shadow cell per 4 bytes of shared and device memory.
//
// A global clock ticks whenever something could order accesses: at the start of a block, at barriers,
// __syncwarp and fences. A cell remembers when, by whom and in which instruction its bytes were last written
// and last read. An access is ordered behind the remembered one if that happened before the last time at
// which the other warp was known to have reached a point this warp has synchronised with (Warp::seen, a
// vector clock over the block's warps), or in an earlier launch, or in another block whose release (fence,
// then atomic) this block has acquired.
//
// Approximations: of several readers only the last is remembered by name, with flags that there were others;
// two writers of different bytes of one word share the cell, the last one's name stays.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <unordered_map>
#include <vector>

namespace ptxsim {

struct Warp;
struct Block;
struct Instr;

struct Cell {
  uint32_t write_time, read_time;  // of the clock; 0: never
  int32_t write_pc, read_pc;
  uint16_t write_thread, read_thread;  // within the block
  uint8_t written : 4, read : 4;       // bytes of the word that the last writer and reader touched
  uint8_t initialised, flags;
};

enum CellFlag : uint8_t {
  kInFlight = 1,     // destination of a cp.async that nobody has waited for
  kManyWarps = 2,    // read by several warps since the last common barrier
  kManyLanes = 4,    // read by several lanes of one warp since its last __syncwarp
  kStrongWrite = 8,  // last written by an atomic or another strong operation
  kCasWrite = 16,    // by a compare-and-swap, which makes up for a plain read before it
};

struct AccessKind {
  bool read = false, write = false;
  bool strong = false;          // atomics, volatile, relaxed, acquire, release
  bool swaps = false;           // compare-and-swap
  bool starts_flight = false;   // the write is a cp.async that has only begun
  const void* value = nullptr;  // what will be written, if known: equal values of one instruction are no race
};

// The clock, and what one launch's blocks know of each other. Used by one thread at a time: full checks run
// the blocks one after the other.
class RaceChecker {
 public:
  static RaceChecker& Get();

  uint32_t now() const { return now_; }
  uint32_t Tick() { return ++now_; }
  void BeginLaunch();
  void BeginBlock(Block& block);

  // Checks one lane's access to `bytes` at `address` and records it. `cells` is the cell of the first byte.
  void Access(Warp& warp, const Instr& instr, int lane, Cell* cells, uint64_t address, unsigned bytes,
              const AccessKind& kind, bool global);

  void SyncWarp(Warp& warp);  // __syncwarp
  void SyncBlock(Block& block, uint32_t warps,
                 uint32_t arrived_only);  // a barrier of these warps (masks by warp)
  void Fence(Warp& warp);
  void Atomic(Warp& warp, uint64_t address);  // on device memory; call it for each lane

 private:
  struct Release {
    int block;
    std::array<uint32_t, 32> until;  // by warp: what happened before that time is released
  };

  // Whether what `other` did at `time` is ordered before what `thread` does now. `strong`: it was an atomic.
  bool Ordered(const Warp& warp, int thread, uint32_t time, uint16_t other, bool global, bool strong) const;
  bool OtherBlockReleased(uint32_t time, uint16_t other, bool strong) const;
  void CheckRead(Warp& warp, const Instr& instr, int thread, Cell* cell, uint8_t mask, const AccessKind& kind,
                 bool global);
  void CheckWrite(Warp& warp, const Instr& instr, int thread, Cell* cell, uint8_t mask,
                  const AccessKind& kind, bool global);
  void RecordRead(Warp& warp, const Instr& instr, int thread, Cell* cell, uint8_t mask);
  void RecordWrite(const Warp& warp, const Instr& instr, int thread, Cell* cell, uint8_t mask,
                   const AccessKind& kind);

  uint32_t now_ = 1;
  uint32_t launch_start_ = 1;
  std::vector<uint32_t> block_starts_;  // of this launch, in the order in which they ran
  std::unordered_map<uint64_t, std::vector<Release>> releases_;  // by address of the atomic
  std::map<int, std::array<uint32_t, 32>> acquired_;  // by block: what the running block may rely on
};

}  // namespace ptxsim
