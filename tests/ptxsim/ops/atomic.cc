// atom, red and fences.
#include <algorithm>
#include <atomic>
#include <bit>
#include <cstring>
#include <mutex>

#include "ops/decoders.h"
#include "ops/memory_access.h"

namespace ptxsim {
namespace {

enum class Rmw : uint8_t { kAdd, kMin, kMax, kAnd, kOr, kXor, kExch, kCas, kInc, kDec };

Rmw ParseRmw(const Statement& s) {
  static constexpr std::string_view kNames[] = {"add", "min",  "max", "and", "or",
                                                "xor", "exch", "cas", "inc", "dec"};
  for (size_t n = 0; n < std::size(kNames); ++n) {
    if (s.Has(kNames[n])) return static_cast<Rmw>(n);
  }
  s.Fail("unknown operation");
}

template <class T>
T Combine(Rmw op, T old, T a, T b) {
  if (op == Rmw::kExch) return a;
  if constexpr (IsPair<T>::value) {
    using Half = decltype(T{}.lo);
    return {Combine<Half>(op, old.lo, a.lo, b.lo), Combine<Half>(op, old.hi, a.hi, b.hi)};
  } else {
    if constexpr (std::is_integral_v<T>) {
      using U = std::make_unsigned_t<T>;
      switch (op) {
        case Rmw::kAdd:
          return static_cast<T>(static_cast<U>(old) + static_cast<U>(a));
        case Rmw::kAnd:
          return static_cast<T>(old & a);
        case Rmw::kOr:
          return static_cast<T>(old | a);
        case Rmw::kXor:
          return static_cast<T>(old ^ a);
        case Rmw::kCas:
          return old == a ? b : old;
        case Rmw::kInc:
          return old >= a ? T{0} : static_cast<T>(old + 1);
        case Rmw::kDec:
          return old == 0 || old > a ? a : static_cast<T>(old - 1);
        default:
          break;
      }
    }
    if (op == Rmw::kMin) return a < old ? a : old;
    if (op == Rmw::kMax) return old < a ? a : old;
    return static_cast<T>(old + a);
  }
}

std::mutex atomic_mutex;  // between workers that run blocks side by side

// r[0..vec): results of atom; r[4..4+vec): operand; r[8]: cas's new value. `sub` is the operation.
template <class T>
void Atomic(Warp& w, const Instr& i, uint32_t lanes) {
  const unsigned bytes = static_cast<unsigned>(sizeof(T)) * i.vec;
  uint64_t address[kWarpSize];
  Addresses(w, i, address);
  const bool full = FullChecks(w);
  if (full && i.acquire_release) RaceChecker::Get().Fence(w);
  std::unique_lock<std::mutex> lock(atomic_mutex, std::defer_lock);
  if (w.block->launch->parallel) lock.lock();
  AccessKind kind;
  kind.read = kind.write = kind.strong = true;
  kind.swaps = static_cast<Rmw>(i.sub) == Rmw::kCas;
  while (lanes != 0) {
    Space space;
    uint32_t group = SameSpace(w, lanes, address, i.space, &space);
    if (!Locate(w, i, group, space, address, bytes, true)) return;
    for (uint32_t rest = group; rest != 0; rest &= rest - 1) {
      int l = std::countr_zero(rest);
      if (full) CheckAccess(w, i, l, space, address[l], bytes, kind);
      if (full && space == Space::kGlobal) RaceChecker::Get().Atomic(w, address[l]);
      for (unsigned n = 0; n < i.vec; ++n) {
        T* at = reinterpret_cast<T*>(address[l]) + n;
        T old = *at;
        *at = Combine<T>(static_cast<Rmw>(i.sub), old, w.At<T>(i.r[4 + n])[l], w.At<T>(i.r[8])[l]);
        if (i.count != 0) w.At<T>(i.r[n])[l] = old;
      }
    }
    lanes &= ~group;
  }
}

Handler AtomicHandler(Type t, Rmw op) {
  bool integer_only = op != Rmw::kAdd && op != Rmw::kMin && op != Rmw::kMax && op != Rmw::kExch;
  switch (t) {
    case Type::kB16:
    case Type::kU16:
      return Atomic<uint16_t>;
    case Type::kS32:
      return Atomic<int32_t>;
    case Type::kS64:
      return Atomic<int64_t>;
    case Type::kB32:
    case Type::kU32:
      return Atomic<uint32_t>;
    case Type::kB64:
    case Type::kU64:
      return Atomic<uint64_t>;
    case Type::kF32:
      return integer_only ? nullptr : Atomic<float>;
    case Type::kF64:
      return integer_only ? nullptr : Atomic<double>;
    case Type::kF16:
      return integer_only ? nullptr : Atomic<F16>;
    case Type::kBF16:
      return integer_only ? nullptr : Atomic<BF16>;
    case Type::kF16x2:
      return integer_only ? nullptr : Atomic<Pair<F16>>;
    case Type::kBF16x2:
      return integer_only ? nullptr : Atomic<Pair<BF16>>;
    default:
      return nullptr;
  }
}

void DecodeAtomic(const Statement& s, Builder& b, Instr* instr, bool returns) {
  Type t = s.TypeAt(0);
  int bytes = SizeOf(t);
  Rmw op = ParseRmw(s);
  size_t n = returns ? 1 : 0;
  RequireOperands(s, n + (op == Rmw::kCas ? 3 : 2));
  instr->type = t;
  instr->sub = static_cast<uint8_t>(op);
  instr->space = ParseSpace(s);
  instr->count = returns;
  ParseOrder(s, instr);
  instr->strong = true;
  DecodeAddress(s, b, instr, s.operands[n]);
  const Operand& value = s.operands[n + 1];
  size_t vec = value.kind == Operand::kVector ? value.parts.size() : 1;
  if (vec > 4) s.Fail("too long a vector");
  instr->vec = static_cast<uint8_t>(vec);
  for (size_t v = 0; v < vec; ++v) {
    instr->r[4 + v] = b.Read(s, vec == 1 ? value : value.parts[v], bytes);
    if (returns) instr->r[v] = b.Write(s, vec == 1 ? s.operands[0] : s.operands[0].parts[v], bytes);
  }
  instr->r[8] = op == Rmw::kCas ? b.Read(s, s.operands[n + 2], bytes) : instr->r[4];
  SetHandler(s, instr, AtomicHandler(t, op));
}

}  // namespace

void DecodeAtom(const Statement& s, Builder& b, Instr* instr) { DecodeAtomic(s, b, instr, true); }

void DecodeRed(const Statement& s, Builder& b, Instr* instr) {
  if (s.Has("async")) s.Fail("red.async is not supported");
  DecodeAtomic(s, b, instr, false);
}

void DecodeFence(const Statement& s, Builder&, Instr* instr) {
  if (s.Has("mbarrier_init") || s.Has("proxy")) s.Fail("this form is not supported");
  instr->run = [](Warp& w, const Instr&, uint32_t) {
    if (FullChecks(w)) RaceChecker::Get().Fence(w);
  };
}

}  // namespace ptxsim
