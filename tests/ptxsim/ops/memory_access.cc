#include "ops/memory_access.h"

#include <bit>

#include "core/module.h"
#include "core/simulated_memory.h"

namespace ptxsim {
namespace {

uint64_t SharedBase(const Warp& w) { return reinterpret_cast<uint64_t>(w.block->shared.data()); }
uint64_t LocalBase(const Warp& w) { return reinterpret_cast<uint64_t>(w.block->local.data()); }

// Space of one generic address, which becomes an offset if it is shared or local.
Space Resolve(Warp& w, int lane, uint64_t* address) {
  const Block& block = *w.block;
  if (*address - SharedBase(w) < block.shared.size()) {
    *address -= SharedBase(w);
    return Space::kShared;
  }
  if (*address - LocalBase(w) < block.local.size()) {
    *address -= LocalBase(w) + static_cast<uint64_t>(w.Thread(lane)) * block.kernel->local_bytes;
    return Space::kLocal;
  }
  uint64_t params = reinterpret_cast<uint64_t>(block.launch->params.data());
  if (*address - params < block.launch->params.size()) {
    *address -= params;
    return Space::kParam;
  }
  return Space::kGlobal;
}

bool InBounds(const Warp& w, Space space, uint64_t address, unsigned bytes) {
  const Block& block = *w.block;
  const Launch& launch = *block.launch;
  if (bytes > DeviceMemory::kGranule) {
    return InBounds(w, space, address, 16) && InBounds(w, space, address + 16, bytes - 16);
  }
  switch (space) {
    case Space::kShared:
      if (address + bytes > block.shared.size()) return false;
      return launch.checks == Checks::kOff || address % 16 + bytes <= launch.shared_granules[address / 16];
    case Space::kLocal:
      return address + bytes <= block.kernel->local_bytes;
    case Space::kParam:
      return address + bytes <= launch.params.size();
    default:
      if (launch.checks == Checks::kOff) return DeviceMemory::Get().Inside(address);
      return DeviceMemory::Get().Allocated(address, bytes);
  }
}

void ReportOutOfBounds(Warp& w, const Instr& i, int lane, Space space, uint64_t address, unsigned bytes,
                       bool write) {
  std::string what =
      std::string("out-of-bounds ") + (write ? "write" : "read") + " of " + std::to_string(bytes) + " bytes";
  if (space == Space::kShared)
    return Fault(w, i, lane, what + " of shared memory at offset " + std::to_string(address));
  if (space == Space::kLocal)
    return Fault(w, i, lane, what + " of local memory at offset " + std::to_string(address));
  if (space == Space::kParam) return Fault(w, i, lane, what + " of the kernel's parameters");
  Fault(w, i, lane, what + " of global memory at " + DescribeAddress(address));
}

void ToPointers(Warp& w, uint32_t lanes, Space space, uint64_t* address) {
  uint64_t base = 0, step = 0;
  if (space == Space::kShared)
    base = SharedBase(w);
  else if (space == Space::kParam)
    base = reinterpret_cast<uint64_t>(w.block->launch->params.data());
  else if (space == Space::kLocal)
    base = LocalBase(w), step = w.block->kernel->local_bytes;
  else
    return;
  uint64_t first = base + static_cast<uint64_t>(w.id) * kWarpSize * step;
  ForLanes(lanes, [=](int l) { address[l] += first + static_cast<uint64_t>(l) * step; });
}

}  // namespace

Space ParseSpace(const Statement& s) {
  static constexpr std::pair<std::string_view, Space> kSpaces[] = {
      {"global", Space::kGlobal},     {"shared", Space::kShared}, {"shared::cta", Space::kShared},
      {"local", Space::kLocal},       {"param", Space::kParam},   {"param::entry", Space::kParam},
      {"param::func", Space::kParam}, {"const", Space::kConst},
  };
  for (const auto& [name, space] : kSpaces) {
    if (s.Has(name)) return space;
  }
  return Space::kGeneric;
}

void ParseOrder(const Statement& s, Instr* instr) {
  instr->acquire_release = s.Has("acquire") || s.Has("release") || s.Has("acq_rel");
  instr->strong = instr->acquire_release || s.Has("volatile") || s.Has("relaxed") || s.Has("mmio");
}

void DecodeAddress(const Statement& s, Builder& b, Instr* instr, const Operand& operand, size_t ref) {
  if (operand.kind != Operand::kAddress) s.Fail("expected an address in brackets");
  instr->imm = static_cast<int64_t>(operand.value);
  if (operand.has_base) {
    instr->r[ref] = operand.ref;
    instr->wide_address = SizeOf(operand.type) == 8;
    if (SizeOf(operand.type) < 4) s.Fail("an address of the wrong width");
    return;
  }
  Operand zero;
  instr->r[ref] = b.Read(s, zero, 8);
  instr->wide_address = true;
}

void Addresses(Warp& w, const Instr& i, uint64_t* address, size_t ref) {
  const uint64_t offset = static_cast<uint64_t>(i.imm);
  if (i.wide_address) {
    const uint64_t* base = w.At<uint64_t>(i.r[ref]);
    for (int l = 0; l < kWarpSize; ++l) address[l] = base[l] + offset;
  } else {
    const uint32_t* base = w.At<uint32_t>(i.r[ref]);
    for (int l = 0; l < kWarpSize; ++l) address[l] = static_cast<uint32_t>(base[l] + offset);
  }
}

uint32_t SameSpace(Warp& w, uint32_t lanes, uint64_t* address, Space declared, Space* space) {
  if (declared != Space::kGeneric) {
    *space = declared == Space::kConst ? Space::kGlobal : declared;
    return lanes;
  }
  uint32_t same = 0;
  for (uint32_t rest = lanes; rest != 0; rest &= rest - 1) {
    int lane = std::countr_zero(rest);
    uint64_t resolved = address[lane];
    Space found = Resolve(w, lane, &resolved);
    if (same == 0) *space = found;
    if (found != *space) continue;
    same |= rest & -rest;
    address[lane] = resolved;
  }
  return same;
}

bool Locate(Warp& w, const Instr& i, uint32_t lanes, Space space, uint64_t* address, unsigned bytes,
            bool write) {
  uint32_t misaligned = 0, outside = 0;
  for (uint32_t rest = lanes; rest != 0; rest &= rest - 1) {
    int l = std::countr_zero(rest);
    misaligned |= (address[l] & (bytes - 1)) != 0 ? rest & -rest : 0;
    outside |= InBounds(w, space, address[l], bytes) ? 0 : rest & -rest;
  }
  if (misaligned != 0) {
    int lane = std::countr_zero(misaligned);
    Fault(w, i, lane, "misaligned " + std::to_string(bytes) + "-byte access");
    return false;
  }
  if (outside != 0) {
    int lane = std::countr_zero(outside);
    ReportOutOfBounds(w, i, lane, space, address[lane], bytes, write);
    return false;
  }
  if (w.block->launch->counting) {
    if (space == Space::kShared)
      CountShared(w, i, lanes, address, bytes);
    else if (space == Space::kGlobal && i.space != Space::kConst)
      CountGlobal(w, i, lanes, address, bytes, write);
  }
  ToPointers(w, lanes, space, address);
  return true;
}

void CheckAccess(Warp& w, const Instr& i, int lane, Space space, uint64_t pointer, unsigned bytes,
                 const AccessKind& kind) {
  if (space == Space::kShared) {
    Cell* cells = &w.block->shared_cells[(pointer - SharedBase(w)) / 4];
    RaceChecker::Get().Access(w, i, lane, cells, pointer, bytes, kind, false);
  } else if (space == Space::kGlobal) {
    RaceChecker::Get().Access(w, i, lane, DeviceMemory::Get().cells(pointer), pointer, bytes, kind, true);
  }
}

}  // namespace ptxsim
