#include "core/counters.h"

#include <algorithm>
#include <bit>

#include "core/exec.h"
#include "core/simulated_memory.h"

namespace ptxsim {
namespace {

constexpr int kBanks = 32;
uint32_t distinct_tag = 0;

Traffic* Site(Warp& warp, const Instr& instr) {
  return &warp.block->counters->sites[static_cast<size_t>(&instr - warp.block->kernel->code.data())];
}

// Sorts `values` and drops duplicates; how many remain.
int Distinct(uint64_t* values, int count) {
  std::sort(values, values + count);
  return static_cast<int>(std::unique(values, values + count) - values);
}

// Passes that `words` (distinct) need: as many as its fullest bank has words.
int Passes(const uint64_t* words, int count) {
  int bank[kBanks] = {}, most = 0;
  for (int i = 0; i < count; ++i) most = std::max(most, ++bank[words[i] % kBanks]);
  return most;
}

}  // namespace

void Traffic::Add(const Traffic& o) {
  requests += o.requests;
  bytes += o.bytes;
  sectors += o.sectors;
  distinct += o.distinct;
  wavefronts += o.wavefronts;
  ideal_wavefronts += o.ideal_wavefronts;
}

void Counters::Add(const Counters& o) {
  blocks += o.blocks;
  warp_instructions += o.warp_instructions;
  thread_instructions += o.thread_instructions;
  mma += o.mma;
  barriers += o.barriers;
  reads.Add(o.reads);
  writes.Add(o.writes);
  shared.Add(o.shared);
  if (sites.size() < o.sites.size()) sites.resize(o.sites.size());
  for (size_t i = 0; i < o.sites.size(); ++i) sites[i].Add(o.sites[i]);
}

void BeginDistinct() { ++distinct_tag; }

void CountGlobal(Warp& warp, const Instr& instr, uint32_t lanes, const uint64_t* address, unsigned bytes,
                 bool write) {
  uint64_t sectors[2 * kWarpSize];
  int count = 0;
  for (uint32_t rest = lanes; rest != 0; rest &= rest - 1) {
    uint64_t at = address[std::countr_zero(rest)];
    sectors[count++] = at / DeviceMemory::kSector;
    uint64_t last = (at + bytes - 1) / DeviceMemory::kSector;
    if (last != sectors[count - 1]) sectors[count++] = last;
  }
  count = Distinct(sectors, count);
  Traffic traffic;
  traffic.requests = 1;
  traffic.bytes = uint64_t{bytes} * static_cast<unsigned>(std::popcount(lanes));
  traffic.sectors = static_cast<uint64_t>(count);
  const DeviceMemory& memory = DeviceMemory::Get();
  for (int i = 0; i < count; ++i) {
    uint32_t* tag = write ? memory.write_tags(sectors[i]) : memory.read_tags(sectors[i]);
    traffic.distinct += *tag != distinct_tag;
    *tag = distinct_tag;
  }
  Site(warp, instr)->Add(traffic);
  Counters& c = *warp.block->counters;
  (write ? c.writes : c.reads).Add(traffic);
}

void CountShared(Warp& warp, const Instr& instr, uint32_t lanes, const uint64_t* address, unsigned bytes) {
  Traffic traffic;
  traffic.requests = 1;
  traffic.bytes = uint64_t{bytes} * static_cast<unsigned>(std::popcount(lanes));
  const int group = bytes <= 4 ? 32 : bytes == 8 ? 16 : 8;  // lanes that one pass can serve
  for (int first = 0; first < kWarpSize; first += group) {
    uint64_t words[2 * kWarpSize];
    int count = 0;
    for (int lane = first; lane < first + group; ++lane) {
      if (!(lanes >> lane & 1)) continue;
      for (unsigned b = 0; b < bytes; b += 4) words[count++] = (address[lane] + b) / 4;
    }
    count = Distinct(words, count);
    traffic.wavefronts += static_cast<uint64_t>(Passes(words, count));
    traffic.ideal_wavefronts += static_cast<uint64_t>((count + kBanks - 1) / kBanks);
  }
  Site(warp, instr)->Add(traffic);
  warp.block->counters->shared.Add(traffic);
}

}  // namespace ptxsim
