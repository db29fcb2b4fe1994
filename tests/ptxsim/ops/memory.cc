// Loads, stores and conversions of addresses.
#include <bit>
#include <cstring>

#include "ops/decoders.h"
#include "ops/memory_access.h"

namespace ptxsim {
namespace {

// Calls body(lanes, space, pointers) for each group of lanes whose access is within one space and in bounds.
template <class Body>
void ForGroups(Warp& w, const Instr& i, uint32_t lanes, unsigned bytes, bool write, Body body) {
  uint64_t address[kWarpSize];
  Addresses(w, i, address);
  while (lanes != 0) {
    Space space;
    uint32_t group = SameSpace(w, lanes, address, i.space, &space);
    if (!Locate(w, i, group, space, address, bytes, write)) return;
    body(group, space, address);
    lanes &= ~group;
  }
}

void CheckLoads(Warp& w, const Instr& i, uint32_t lanes, Space space, const uint64_t* pointer,
                unsigned bytes) {
  AccessKind kind;
  kind.read = true;
  kind.strong = i.strong;
  for (uint32_t rest = lanes; rest != 0; rest &= rest - 1) {
    int l = std::countr_zero(rest);
    CheckAccess(w, i, l, space, pointer[l], bytes, kind);
  }
}

// Registers as wide as the type T: the usual case.
template <class T, int kVec>
void Load(Warp& w, const Instr& i, uint32_t lanes) {
  ForGroups(w, i, lanes, sizeof(T) * kVec, false, [&](uint32_t group, Space space, const uint64_t* pointer) {
    if (FullChecks(w)) CheckLoads(w, i, group, space, pointer, sizeof(T) * kVec);
    T* to[kVec];
    for (int n = 0; n < kVec; ++n) to[n] = w.At<T>(i.r[static_cast<size_t>(n)]);
    ForLanes(group, [&](int l) {
      T value[kVec];
      std::memcpy(value, reinterpret_cast<const void*>(pointer[l]), sizeof(value));
      for (int n = 0; n < kVec; ++n) to[n][l] = value[n];
    });
    if (i.acquire_release && FullChecks(w) && space == Space::kGlobal) {
      for (uint32_t rest = group; rest != 0; rest &= rest - 1) {
        RaceChecker::Get().Atomic(w, pointer[std::countr_zero(rest)]);
      }
    }
  });
}

// Any register width: zero- or sign-extends. `count` is the width of the registers, `sub` the bytes of an
// element.
void LoadExtended(Warp& w, const Instr& i, uint32_t lanes) {
  unsigned bytes = i.sub, all = bytes * i.vec, width = i.count;
  ForGroups(w, i, lanes, all, false, [&](uint32_t group, Space space, const uint64_t* pointer) {
    if (FullChecks(w)) CheckLoads(w, i, group, space, pointer, all);
    for (uint32_t rest = group; rest != 0; rest &= rest - 1) {
      int l = std::countr_zero(rest);
      for (unsigned n = 0; n < i.vec; ++n) {
        uint64_t value = 0;
        std::memcpy(&value, reinterpret_cast<const char*>(pointer[l]) + n * bytes, bytes);
        unsigned shift = 64 - 8 * bytes;
        if (IsSigned(i.type)) value = static_cast<uint64_t>(static_cast<int64_t>(value << shift) >> shift);
        std::memcpy(w.At<std::byte>(i.r[n]) + static_cast<unsigned>(l) * width, &value, width);
      }
    }
  });
}

template <class T, int kVec>
void Store(Warp& w, const Instr& i, uint32_t lanes) {
  if (i.acquire_release && FullChecks(w)) RaceChecker::Get().Fence(w);
  ForGroups(w, i, lanes, sizeof(T) * kVec, true, [&](uint32_t group, Space space, const uint64_t* pointer) {
    const T* from[kVec];
    for (int n = 0; n < kVec; ++n) from[n] = w.At<T>(i.r[static_cast<size_t>(n)]);
    AccessKind kind;
    kind.write = true;
    kind.strong = i.strong;
    bool full = FullChecks(w);
    for (uint32_t rest = group; rest != 0; rest &= rest - 1) {
      int l = std::countr_zero(rest);
      T value[kVec];
      for (int n = 0; n < kVec; ++n) value[n] = from[n][l];
      kind.value = value;
      if (full) CheckAccess(w, i, l, space, pointer[l], sizeof(value), kind);
      std::memcpy(reinterpret_cast<void*>(pointer[l]), value, sizeof(value));
      if (full && i.acquire_release && space == Space::kGlobal) RaceChecker::Get().Atomic(w, pointer[l]);
    }
  });
}

// Stores the low `sub` bytes of registers of `count` bytes.
void StoreNarrow(Warp& w, const Instr& i, uint32_t lanes) {
  unsigned bytes = i.sub, all = bytes * i.vec, width = i.count;
  ForGroups(w, i, lanes, all, true, [&](uint32_t group, Space space, const uint64_t* pointer) {
    for (uint32_t rest = group; rest != 0; rest &= rest - 1) {
      int l = std::countr_zero(rest);
      std::byte value[16];
      for (unsigned n = 0; n < i.vec; ++n) {
        std::memcpy(value + n * bytes, w.At<std::byte>(i.r[n]) + static_cast<unsigned>(l) * width, bytes);
      }
      AccessKind kind;
      kind.write = true;
      kind.strong = i.strong;
      kind.value = value;
      if (FullChecks(w)) CheckAccess(w, i, l, space, pointer[l], all, kind);
      std::memcpy(reinterpret_cast<void*>(pointer[l]), value, all);
    }
  });
}

// A parameter at a fixed offset is the same for every lane.
template <class T>
void LoadParam(Warp& w, const Instr& i, uint32_t lanes) {
  const std::byte* from = w.block->launch->params.data() + i.imm;
  for (unsigned n = 0; n < i.vec; ++n) {
    T value;
    std::memcpy(&value, from + n * sizeof(T), sizeof(T));
    T* to = w.At<T>(i.r[n]);
    ForLanes(lanes, [=](int l) { to[l] = value; });
  }
}

template <class T, template <class, int> class Op>
Handler ForVec(int vec) {
  switch (vec) {
    case 1:
      return Op<T, 1>::Get();
    case 2:
      return Op<T, 2>::Get();
    case 4:
      return sizeof(T) <= 8 ? Op<T, 4>::Get() : nullptr;
    case 8:
      return sizeof(T) == 4 ? Op<T, 8>::Get() : nullptr;
    default:
      return nullptr;
  }
}
template <class T, int kVec>
struct LoadOp {
  static Handler Get() { return Load<T, kVec>; }
};
template <class T, int kVec>
struct StoreOp {
  static Handler Get() { return Store<T, kVec>; }
};

template <template <class, int> class Op>
Handler ForWidth(int bytes, int vec) {
  switch (bytes) {
    case 2:
      return ForVec<uint16_t, Op>(vec);
    case 4:
      return ForVec<uint32_t, Op>(vec);
    case 8:
      return ForVec<uint64_t, Op>(vec);
    case 16:
      return ForVec<unsigned __int128, Op>(vec);
    default:
      return nullptr;
  }
}

Space SpaceOf(const Statement& s, const Builder& b, const Operand& address) {
  Space space = ParseSpace(s);
  if (space != Space::kParam) return space;
  bool local = address.symbolic ? address.space == Space::kLocal : b.InFunction();
  return local ? Space::kLocal : space;
}

// The registers of a load or store and their common width.
int DecodeValues(const Statement& s, Builder& b, Instr* instr, const Operand& value, bool write) {
  const std::vector<Operand> single{value};
  const std::vector<Operand>& parts = value.kind == Operand::kVector ? value.parts : single;
  instr->vec = static_cast<uint8_t>(parts.size());
  int width = 0;
  for (const Operand& p : parts) width = std::max(width, p.kind == Operand::kRegister ? SizeOf(p.type) : 0);
  if (width == 0) width = SizeOf(instr->type) == 1 ? 2 : SizeOf(instr->type);  // immediates or sinks only
  for (size_t n = 0; n < parts.size(); ++n) {
    instr->r[n] = write ? b.Write(s, parts[n], width) : b.Read(s, parts[n], width);
  }
  return width;
}

}  // namespace

void DecodeLd(const Statement& s, Builder& b, Instr* instr) {
  if (s.operands.size() < 2) s.Fail("expected a destination and an address");
  instr->type = s.TypeAt(0);
  instr->space = SpaceOf(s, b, s.operands[1]);
  ParseOrder(s, instr);
  int width = DecodeValues(s, b, instr, s.operands[0], true), bytes = SizeOf(instr->type);
  DecodeAddress(s, b, instr, s.operands[1]);
  instr->count = static_cast<uint8_t>(width);
  instr->sub = static_cast<uint8_t>(bytes);
  if (width != bytes) {
    instr->run = LoadExtended;
  } else if (instr->space == Space::kParam && !s.operands[1].has_base) {
    instr->run = bytes == 2 ? LoadParam<uint16_t> : bytes == 4 ? LoadParam<uint32_t> : LoadParam<uint64_t>;
  } else {
    SetHandler(s, instr, ForWidth<LoadOp>(bytes, instr->vec));
  }
}

void DecodeSt(const Statement& s, Builder& b, Instr* instr) {
  if (s.operands.size() < 2) s.Fail("expected an address and a value");
  instr->type = s.TypeAt(0);
  instr->space = SpaceOf(s, b, s.operands[0]);
  ParseOrder(s, instr);
  int width = DecodeValues(s, b, instr, s.operands[1], false), bytes = SizeOf(instr->type);
  DecodeAddress(s, b, instr, s.operands[0]);
  instr->count = static_cast<uint8_t>(width);
  instr->sub = static_cast<uint8_t>(bytes);
  if (width != bytes)
    instr->run = StoreNarrow;
  else
    SetHandler(s, instr, ForWidth<StoreOp>(bytes, instr->vec));
}

// cvta.space d, a: from an offset in the space to a generic address; cvta.to.space: back.
void DecodeCvta(const Statement& s, Builder& b, Instr* instr) {
  RequireOperands(s, 2);
  DecodeOperands(s, b, instr, 8);
  instr->space = SpaceOf(s, b, s.operands[1]);
  instr->sub = s.Has("to");
  instr->run = [](Warp& w, const Instr& i, uint32_t lanes) {
    uint64_t base = 0, step = 0;
    const Block& block = *w.block;
    if (i.space == Space::kShared) base = reinterpret_cast<uint64_t>(block.shared.data());
    if (i.space == Space::kParam) base = reinterpret_cast<uint64_t>(block.launch->params.data());
    if (i.space == Space::kLocal) {
      step = block.kernel->local_bytes;
      base = reinterpret_cast<uint64_t>(block.local.data()) + static_cast<uint64_t>(w.id) * kWarpSize * step;
    }
    uint64_t *d = w.At<uint64_t>(i.r[0]), *a = w.At<uint64_t>(i.r[1]);
    bool to = i.sub != 0;
    ForLanes(lanes, [=](int l) {
      uint64_t start = base + static_cast<uint64_t>(l) * step;
      d[l] = to ? a[l] - start : a[l] + start;
    });
  };
}

void DecodeIsspacep(const Statement& s, Builder& b, Instr* instr) {
  RequireOperands(s, 2);
  instr->r[0] = b.Write(s, s.operands[0], 0);
  instr->r[1] = b.Read(s, s.operands[1], 8);
  instr->space = ParseSpace(s);
  instr->run = [](Warp& w, const Instr& i, uint32_t lanes) {
    uint32_t bits = 0;
    for (uint32_t rest = lanes; rest != 0; rest &= rest - 1) {
      uint64_t address[kWarpSize];
      std::memcpy(address, w.At<uint64_t>(i.r[1]), sizeof(address));
      Space space;
      SameSpace(w, rest & -rest, address, Space::kGeneric, &space);
      bits |= space == i.space ? rest & -rest : 0;
    }
    SetPredicate(w, i.r[0], lanes, bits);
  };
}

void DecodePrefetch(const Statement& s, Builder& b, Instr* instr) { DecodeNothing(s, b, instr); }

}  // namespace ptxsim
