// Comparisons and selection.
#include <cmath>

#include "ops/decoders.h"
#include "ops/lanes.h"

namespace ptxsim {
namespace {

enum class Cmp : uint8_t { kEq, kNe, kLt, kLe, kGt, kGe, kEqu, kNeu, kLtu, kLeu, kGtu, kGeu, kNum, kNan };

Cmp ParseCmp(const Statement& s) {
  static constexpr std::pair<std::string_view, Cmp> kTable[] = {
      {"eq", Cmp::kEq},   {"ne", Cmp::kNe},   {"lt", Cmp::kLt},   {"le", Cmp::kLe},   {"gt", Cmp::kGt},
      {"ge", Cmp::kGe},   {"lo", Cmp::kLt},   {"ls", Cmp::kLe},   {"hi", Cmp::kGt},   {"hs", Cmp::kGe},
      {"equ", Cmp::kEqu}, {"neu", Cmp::kNeu}, {"ltu", Cmp::kLtu}, {"leu", Cmp::kLeu}, {"gtu", Cmp::kGtu},
      {"geu", Cmp::kGeu}, {"num", Cmp::kNum}, {"nan", Cmp::kNan},
  };
  for (const auto& [name, cmp] : kTable) {
    if (!s.mods.empty() && s.mods[0] == name) return cmp;
  }
  s.Fail("unknown comparison");
}

template <Cmp C, class T>
[[gnu::always_inline]] inline bool Compare(T a, T b) {
  if constexpr (C == Cmp::kEq) return a == b;
  if constexpr (C == Cmp::kNe) return (a < b) | (a > b);  // false for NaN
  if constexpr (C == Cmp::kLt) return a < b;
  if constexpr (C == Cmp::kLe) return a <= b;
  if constexpr (C == Cmp::kGt) return a > b;
  if constexpr (C == Cmp::kGe) return a >= b;
  if constexpr (C == Cmp::kEqu) return !((a < b) | (a > b));
  if constexpr (C == Cmp::kNeu) return !(a == b);
  if constexpr (C == Cmp::kLtu) return !(a >= b);
  if constexpr (C == Cmp::kLeu) return !(a > b);
  if constexpr (C == Cmp::kGtu) return !(a <= b);
  if constexpr (C == Cmp::kGeu) return !(a < b);
  if constexpr (C == Cmp::kNum) return (a == a) & (b == b);
  if constexpr (C == Cmp::kNan) return (a != a) | (b != b);
}

template <Cmp C, class T>
uint32_t CompareLanes(Warp& w, const Instr& i) {
  using V = std::conditional_t<std::is_same_v<T, F16> || std::is_same_v<T, BF16>, double, T>;
  const T *a = w.At<T>(i.r[2]), *b = w.At<T>(i.r[3]);
  uint32_t bits = 0;
  for (int l = 0; l < kWarpSize; ++l) bits |= static_cast<uint32_t>(Compare<C, V>(a[l], b[l])) << l;
  return bits;
}

// r: 0 = p, 1 = q (if paired), 2 = a, 3 = b, 4 = predicate to combine with. sub: 0 none, 1 and, 2 or, 3 xor.
template <Cmp C, class T>
void Setp(Warp& w, const Instr& i, uint32_t lanes) {
  uint32_t bits = CompareLanes<C, T>(w, i), other = ~bits;
  if (i.sub != 0) {
    uint32_t with = *w.At<uint32_t>(i.r[4]) ^ static_cast<uint32_t>(i.imm);
    bits = i.sub == 1 ? bits & with : i.sub == 2 ? bits | with : bits ^ with;
    other = i.sub == 1 ? other & with : i.sub == 2 ? other | with : other ^ with;
  }
  SetPredicate(w, i.r[0], lanes, bits);
  if (i.count == 2) SetPredicate(w, i.r[1], lanes, other);
}

// set.cmp.u32.T / set.cmp.f32.T: all ones or 1.0 where the comparison holds; `imm` is that value.
template <Cmp C, class T>
void Set(Warp& w, const Instr& i, uint32_t lanes) {
  uint32_t bits = CompareLanes<C, T>(w, i), value = static_cast<uint32_t>(i.imm);
  uint32_t* d = w.At<uint32_t>(i.r[0]);
  ForLanes(lanes, [=](int l) { d[l] = bits >> l & 1 ? value : 0; });
}

template <Cmp C, bool kSet>
Handler ForType(Type t) {
  auto pick = []<class T>() -> Handler { return kSet ? Handler(Set<C, T>) : Handler(Setp<C, T>); };
  switch (t) {
    case Type::kS16:
      return pick.template operator()<int16_t>();
    case Type::kS32:
      return pick.template operator()<int32_t>();
    case Type::kS64:
      return pick.template operator()<int64_t>();
    case Type::kU16:
    case Type::kB16:
      return pick.template operator()<uint16_t>();
    case Type::kU32:
    case Type::kB32:
      return pick.template operator()<uint32_t>();
    case Type::kU64:
    case Type::kB64:
      return pick.template operator()<uint64_t>();
    case Type::kF16:
      return pick.template operator()<F16>();
    case Type::kBF16:
      return pick.template operator()<BF16>();
    case Type::kF32:
      return pick.template operator()<float>();
    case Type::kF64:
      return pick.template operator()<double>();
    default:
      return nullptr;
  }
}

template <bool kSet>
Handler CompareHandler(Cmp c, Type t) {
  switch (c) {
    case Cmp::kEq:
      return ForType<Cmp::kEq, kSet>(t);
    case Cmp::kNe:
      return ForType<Cmp::kNe, kSet>(t);
    case Cmp::kLt:
      return ForType<Cmp::kLt, kSet>(t);
    case Cmp::kLe:
      return ForType<Cmp::kLe, kSet>(t);
    case Cmp::kGt:
      return ForType<Cmp::kGt, kSet>(t);
    case Cmp::kGe:
      return ForType<Cmp::kGe, kSet>(t);
    case Cmp::kEqu:
      return ForType<Cmp::kEqu, kSet>(t);
    case Cmp::kNeu:
      return ForType<Cmp::kNeu, kSet>(t);
    case Cmp::kLtu:
      return ForType<Cmp::kLtu, kSet>(t);
    case Cmp::kLeu:
      return ForType<Cmp::kLeu, kSet>(t);
    case Cmp::kGtu:
      return ForType<Cmp::kGtu, kSet>(t);
    case Cmp::kGeu:
      return ForType<Cmp::kGeu, kSet>(t);
    case Cmp::kNum:
      return ForType<Cmp::kNum, kSet>(t);
    case Cmp::kNan:
      return ForType<Cmp::kNan, kSet>(t);
  }
  return nullptr;
}

template <class T>
void Select(Warp& w, const Instr& i, uint32_t lanes) {
  T* d = w.At<T>(i.r[0]);
  const T *a = w.At<T>(i.r[1]), *b = w.At<T>(i.r[2]);
  uint32_t p = *w.At<uint32_t>(i.r[3]);
  ForLanes(lanes, [=](int l) { d[l] = p >> l & 1 ? a[l] : b[l]; });
}

// d = c >= 0 ? a : b, with c an s32 or f32.
template <class T, class C>
void SelectBySign(Warp& w, const Instr& i, uint32_t lanes) {
  T* d = w.At<T>(i.r[0]);
  const T *a = w.At<T>(i.r[1]), *b = w.At<T>(i.r[2]);
  const C* c = w.At<C>(i.r[3]);
  ForLanes(lanes, [=](int l) { d[l] = c[l] >= 0 ? a[l] : b[l]; });
}

template <class T>
void Testp(Warp& w, const Instr& i, uint32_t lanes) {
  const T* a = w.At<T>(i.r[1]);
  uint32_t bits = 0;
  for (int l = 0; l < kWarpSize; ++l) {
    int kind = std::fpclassify(a[l]);
    bool holds = i.sub == 0   ? kind != FP_INFINITE && kind != FP_NAN
                 : i.sub == 1 ? kind == FP_INFINITE
                 : i.sub == 2 ? kind != FP_NAN
                 : i.sub == 3 ? kind == FP_NAN
                 : i.sub == 4 ? kind == FP_NORMAL
                              : kind == FP_SUBNORMAL;
    bits |= static_cast<uint32_t>(holds) << l;
  }
  SetPredicate(w, i.r[0], lanes, bits);
}

}  // namespace

void DecodeSetp(const Statement& s, Builder& b, Instr* instr) {
  Type t = s.TypeAt(0);
  size_t n = 0;
  instr->count = s.paired ? 2 : 1;
  instr->r[0] = b.Write(s, s.operands[n++], 0);
  if (s.paired) instr->r[1] = b.Write(s, s.operands[n++], 0);
  if (s.operands.size() < n + 2) s.Fail("expected two values to compare");
  instr->r[2] = b.Read(s, s.operands[n], SizeOf(t));
  instr->r[3] = b.Read(s, s.operands[n + 1], SizeOf(t));
  if (s.operands.size() == n + 3) {
    instr->sub = s.Has("and") ? 1 : s.Has("or") ? 2 : 3;
    instr->r[4] = b.Read(s, s.operands[n + 2], 0);
    instr->imm = s.operands[n + 2].negated ? -1 : 0;
  }
  SetHandler(s, instr, CompareHandler<false>(ParseCmp(s), t));
}

void DecodeSet(const Statement& s, Builder& b, Instr* instr) {
  RequireOperands(s, 3);
  Type to = s.TypeAt(0), t = s.TypeAt(1);
  if (SizeOf(to) != 4) s.Fail("only 32-bit results are supported");
  instr->r[0] = b.Write(s, s.operands[0], 4);
  instr->r[2] = b.Read(s, s.operands[1], SizeOf(t));
  instr->r[3] = b.Read(s, s.operands[2], SizeOf(t));
  instr->imm = to == Type::kF32 ? FloatToBits(1.0f) : ~0u;
  SetHandler(s, instr, CompareHandler<true>(ParseCmp(s), t));
}

void DecodeSelp(const Statement& s, Builder& b, Instr* instr) {
  RequireOperands(s, 4);
  int bytes = SizeOf(s.TypeAt(0));
  instr->r[0] = b.Write(s, s.operands[0], bytes);
  instr->r[1] = b.Read(s, s.operands[1], bytes);
  instr->r[2] = b.Read(s, s.operands[2], bytes);
  instr->r[3] = b.Read(s, s.operands[3], 0);
  instr->run = bytes == 2 ? Select<uint16_t> : bytes == 4 ? Select<uint32_t> : Select<uint64_t>;
}

void DecodeSlct(const Statement& s, Builder& b, Instr* instr) {
  RequireOperands(s, 4);
  int bytes = SizeOf(s.TypeAt(0));
  for (size_t n = 1; n < 3; ++n) instr->r[n] = b.Read(s, s.operands[n], bytes);
  instr->r[0] = b.Write(s, s.operands[0], bytes);
  instr->r[3] = b.Read(s, s.operands[3], 4);
  bool by_float = s.TypeAt(1) == Type::kF32;
  if (bytes == 4)
    instr->run = by_float ? SelectBySign<uint32_t, float> : SelectBySign<uint32_t, int32_t>;
  else if (bytes == 8)
    instr->run = by_float ? SelectBySign<uint64_t, float> : SelectBySign<uint64_t, int32_t>;
  else
    s.Fail("this width is not supported");
}

void DecodeTestp(const Statement& s, Builder& b, Instr* instr) {
  RequireOperands(s, 2);
  static constexpr std::string_view kKinds[] = {"finite",     "infinite", "number",
                                                "notanumber", "normal",   "subnormal"};
  for (uint8_t n = 0; n < 6; ++n) {
    if (s.Has(kKinds[n])) instr->sub = n;
  }
  Type t = s.TypeAt(0);
  instr->r[0] = b.Write(s, s.operands[0], 0);
  instr->r[1] = b.Read(s, s.operands[1], SizeOf(t));
  instr->run = t == Type::kF64 ? Testp<double> : Testp<float>;
}

}  // namespace ptxsim
