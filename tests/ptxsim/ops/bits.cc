// Logic, shifts and bit fields.
#include <bit>

#include "ops/decoders.h"
#include "ops/lanes.h"

namespace ptxsim {
namespace {

constexpr auto kAnd = [](auto a, auto b) { return a & b; };
constexpr auto kOr = [](auto a, auto b) { return a | b; };
constexpr auto kXor = [](auto a, auto b) { return a ^ b; };
constexpr auto kNot = [](auto a) { return ~a; };

template <auto F>
void PredicateOp(Warp& w, const Instr& i, uint32_t lanes) {
  SetPredicate(w, i.r[0], lanes, F(*w.At<uint32_t>(i.r[1]), *w.At<uint32_t>(i.r[2])));
}

template <auto F>
void DecodeLogic(const Statement& s, Builder& b, Instr* instr) {
  Type t = s.TypeAt(0);
  RequireOperands(s, 3);
  DecodeOperands(s, b, instr, SizeOf(t));
  SetHandler(s, instr, t == Type::kPred ? PredicateOp<F> : IntMap2<F>(t));
}

// Shift amounts are 32-bit and clamp at the width.
template <class T, bool kLeft>
void Shift(Warp& w, const Instr& i, uint32_t lanes) {
  constexpr uint32_t kBits = 8 * sizeof(T);
  T* d = w.At<T>(i.r[0]);
  const T* a = w.At<T>(i.r[1]);
  const uint32_t* by = w.At<uint32_t>(i.r[2]);
  ForLanes(lanes, [=](int l) {
    if constexpr (kLeft) {
      d[l] = by[l] >= kBits ? T{0} : static_cast<T>(a[l] << by[l]);
    } else {
      T out = a[l] < T{0} ? static_cast<T>(-1) : T{0};
      d[l] = by[l] >= kBits ? out : static_cast<T>(a[l] >> by[l]);
    }
  });
}

void DecodeShift(const Statement& s, Builder& b, Instr* instr, Handler handler) {
  RequireOperands(s, 3);
  int bytes = SizeOf(s.TypeAt(0));
  instr->r[0] = b.Write(s, s.operands[0], bytes);
  instr->r[1] = b.Read(s, s.operands[1], bytes);
  instr->r[2] = b.Read(s, s.operands[2], 4);
  SetHandler(s, instr, handler);
}

// shf: d = the middle 32 bits of the pair (b:a) shifted.
template <bool kLeft, bool kWrap>
void FunnelShift(Warp& w, const Instr& i, uint32_t lanes) {
  uint32_t* d = w.At<uint32_t>(i.r[0]);
  const uint32_t *a = w.At<uint32_t>(i.r[1]), *b = w.At<uint32_t>(i.r[2]), *c = w.At<uint32_t>(i.r[3]);
  ForLanes(lanes, [=](int l) {
    uint64_t pair = static_cast<uint64_t>(b[l]) << 32 | a[l];
    uint32_t n = kWrap ? c[l] & 31 : std::min(c[l], 32u);
    d[l] = static_cast<uint32_t>(kLeft ? (pair << n) >> 32 : pair >> n);
  });
}

template <class T>
T ExtractField(T a, uint32_t from, uint32_t length) {
  constexpr uint32_t kBits = 8 * sizeof(T);
  using U = std::make_unsigned_t<T>;
  from &= 0xff, length &= 0xff;
  uint32_t top = std::min(from + length - 1, kBits - 1);  // the field's highest bit, whose value extends it
  bool negative = std::is_signed_v<T> && length != 0 && (static_cast<U>(a) >> top & 1);
  U field = from >= kBits ? 0 : static_cast<U>(a) >> from;
  if (length >= kBits) length = kBits;
  U mask = length == kBits ? ~U{0} : (U{1} << length) - 1;
  uint32_t available = from >= kBits ? 0 : kBits - from;
  if (available < length && available < kBits) mask &= (U{1} << available) - 1;
  field &= mask;
  return static_cast<T>(negative ? field | ~mask : field);
}

template <class T>
void Bfe(Warp& w, const Instr& i, uint32_t lanes) {
  T* d = w.At<T>(i.r[0]);
  const T* a = w.At<T>(i.r[1]);
  const uint32_t *from = w.At<uint32_t>(i.r[2]), *length = w.At<uint32_t>(i.r[3]);
  ForLanes(lanes, [=](int l) { d[l] = ExtractField(a[l], from[l], length[l]); });
}

template <class T>
void Bfi(Warp& w, const Instr& i, uint32_t lanes) {
  constexpr uint32_t kBits = 8 * sizeof(T);
  T* d = w.At<T>(i.r[0]);
  const T *a = w.At<T>(i.r[1]), *b = w.At<T>(i.r[2]);
  const uint32_t *from = w.At<uint32_t>(i.r[3]), *length = w.At<uint32_t>(i.r[4]);
  ForLanes(lanes, [=](int l) {
    uint32_t f = from[l] & 0xff, n = length[l] & 0xff;
    T mask = n >= kBits ? ~T{0} : static_cast<T>((T{1} << n) - 1);
    mask = f >= kBits ? T{0} : static_cast<T>(mask << f);
    T value = f >= kBits ? T{0} : static_cast<T>(a[l] << f);
    d[l] = static_cast<T>((value & mask) | (b[l] & ~mask));
  });
}

// The position of the highest bit that differs from the sign (unsigned: that is set); -1 if there is none.
template <class T, bool kShiftAmount>
void Bfind(Warp& w, const Instr& i, uint32_t lanes) {
  using U = std::make_unsigned_t<T>;
  uint32_t* d = w.At<uint32_t>(i.r[0]);
  const T* a = w.At<T>(i.r[1]);
  ForLanes(lanes, [=](int l) {
    U v = static_cast<U>(a[l] < T{0} ? ~a[l] : a[l]);
    uint32_t high =
        v == 0 ? ~0u : static_cast<uint32_t>(8 * sizeof(T) - 1) - static_cast<uint32_t>(std::countl_zero(v));
    d[l] = kShiftAmount && v != 0 ? static_cast<uint32_t>(8 * sizeof(T) - 1) - high : high;
  });
}

constexpr auto kMask = [](uint32_t from, uint32_t length) -> uint32_t {
  uint64_t ones = length >= 32 ? 0xffffffffu : (uint64_t{1} << length) - 1;
  return from >= 32 ? 0 : static_cast<uint32_t>(ones << from);
};
constexpr auto kMaskWrap = [](uint32_t from, uint32_t length) -> uint32_t {
  return kMask(from & 31, length & 31);
};

constexpr auto kReverse = []<class T>(T a) {
  T r = 0;
  for (unsigned bit = 0; bit < 8 * sizeof(T); ++bit) r = static_cast<T>(r << 1 | (a >> bit & 1));
  return r;
};

template <class T, bool kLeading>
void CountBits(Warp& w, const Instr& i, uint32_t lanes) {
  uint32_t* d = w.At<uint32_t>(i.r[0]);
  const T* a = w.At<T>(i.r[1]);
  ForLanes(lanes, [=](int l) {
    d[l] = static_cast<uint32_t>(kLeading ? std::countl_zero(a[l]) : std::popcount(a[l]));
  });
}

template <bool kLeading>
void DecodeCount(const Statement& s, Builder& b, Instr* instr) {
  RequireOperands(s, 2);
  bool wide = SizeOf(s.TypeAt(0)) == 8;
  instr->r[0] = b.Write(s, s.operands[0], 4);
  instr->r[1] = b.Read(s, s.operands[1], wide ? 8 : 4);
  instr->run = wide ? CountBits<uint64_t, kLeading> : CountBits<uint32_t, kLeading>;
}

// Each nibble of c selects one of the eight bytes of (b:a), or with its top bit that byte's sign.
constexpr auto kPermute = [](uint32_t a, uint32_t b, uint32_t c) -> uint32_t {
  uint64_t bytes = static_cast<uint64_t>(b) << 32 | a;
  uint32_t result = 0;
  for (int n = 0; n < 4; ++n) {
    uint32_t select = c >> (4 * n);
    uint32_t byte = static_cast<uint32_t>(bytes >> (8 * (select & 7))) & 0xff;
    if (select & 8) byte = byte & 0x80 ? 0xff : 0;
    result |= byte << (8 * n);
  }
  return result;
};

void Lop3(Warp& w, const Instr& i, uint32_t lanes) {
  uint32_t* d = w.At<uint32_t>(i.r[0]);
  const uint32_t *a = w.At<uint32_t>(i.r[1]), *b = w.At<uint32_t>(i.r[2]), *c = w.At<uint32_t>(i.r[3]);
  uint32_t term[8];  // all ones where the table has a 1 for (a, b, c) = the bits of the index
  for (unsigned n = 0; n < 8; ++n) term[n] = i.imm >> n & 1 ? ~0u : 0;
  ForLanes(lanes, [=](int l) {
    uint32_t r = 0;
    for (unsigned n = 0; n < 8; ++n) {
      r |= term[n] & (n & 4 ? a[l] : ~a[l]) & (n & 2 ? b[l] : ~b[l]) & (n & 1 ? c[l] : ~c[l]);
    }
    d[l] = r;
  });
}

}  // namespace

void DecodeAnd(const Statement& s, Builder& b, Instr* instr) { DecodeLogic<kAnd>(s, b, instr); }
void DecodeOr(const Statement& s, Builder& b, Instr* instr) { DecodeLogic<kOr>(s, b, instr); }
void DecodeXor(const Statement& s, Builder& b, Instr* instr) { DecodeLogic<kXor>(s, b, instr); }

void DecodeNot(const Statement& s, Builder& b, Instr* instr) {
  Type t = s.TypeAt(0);
  RequireOperands(s, 2);
  DecodeOperands(s, b, instr, SizeOf(t));
  instr->run = [](Warp& w, const Instr& i, uint32_t lanes) {
    SetPredicate(w, i.r[0], lanes, ~*w.At<uint32_t>(i.r[1]));
  };
  if (t != Type::kPred) SetHandler(s, instr, IntMap1<kNot>(t));
}

void DecodeShl(const Statement& s, Builder& b, Instr* instr) {
  int bytes = SizeOf(s.TypeAt(0));
  DecodeShift(s, b, instr,
              bytes == 2   ? Shift<uint16_t, true>
              : bytes == 4 ? Shift<uint32_t, true>
                           : Shift<uint64_t, true>);
}

void DecodeShr(const Statement& s, Builder& b, Instr* instr) {
  switch (s.TypeAt(0)) {
    case Type::kS16:
      return DecodeShift(s, b, instr, Shift<int16_t, false>);
    case Type::kS32:
      return DecodeShift(s, b, instr, Shift<int32_t, false>);
    case Type::kS64:
      return DecodeShift(s, b, instr, Shift<int64_t, false>);
    case Type::kU16:
    case Type::kB16:
      return DecodeShift(s, b, instr, Shift<uint16_t, false>);
    case Type::kU32:
    case Type::kB32:
      return DecodeShift(s, b, instr, Shift<uint32_t, false>);
    default:
      return DecodeShift(s, b, instr, Shift<uint64_t, false>);
  }
}

void DecodeShf(const Statement& s, Builder& b, Instr* instr) {
  RequireOperands(s, 4);
  DecodeOperands(s, b, instr, 4);
  bool wrap = s.Has("wrap");
  if (s.Has("l"))
    instr->run = wrap ? FunnelShift<true, true> : FunnelShift<true, false>;
  else
    instr->run = wrap ? FunnelShift<false, true> : FunnelShift<false, false>;
}

void DecodeBfe(const Statement& s, Builder& b, Instr* instr) {
  RequireOperands(s, 4);
  Type t = s.TypeAt(0);
  instr->r[0] = b.Write(s, s.operands[0], SizeOf(t));
  instr->r[1] = b.Read(s, s.operands[1], SizeOf(t));
  instr->r[2] = b.Read(s, s.operands[2], 4);
  instr->r[3] = b.Read(s, s.operands[3], 4);
  instr->run = t == Type::kS32   ? Bfe<int32_t>
               : t == Type::kS64 ? Bfe<int64_t>
               : SizeOf(t) == 8  ? Bfe<uint64_t>
                                 : Bfe<uint32_t>;
}

void DecodeBfi(const Statement& s, Builder& b, Instr* instr) {
  RequireOperands(s, 5);
  int bytes = SizeOf(s.TypeAt(0));
  instr->r[0] = b.Write(s, s.operands[0], bytes);
  instr->r[1] = b.Read(s, s.operands[1], bytes);
  instr->r[2] = b.Read(s, s.operands[2], bytes);
  instr->r[3] = b.Read(s, s.operands[3], 4);
  instr->r[4] = b.Read(s, s.operands[4], 4);
  instr->run = bytes == 8 ? Bfi<uint64_t> : Bfi<uint32_t>;
}

void DecodeBfind(const Statement& s, Builder& b, Instr* instr) {
  RequireOperands(s, 2);
  Type t = s.TypeAt(0);
  instr->r[0] = b.Write(s, s.operands[0], 4);
  instr->r[1] = b.Read(s, s.operands[1], SizeOf(t));
  bool amount = s.Has("shiftamt");
  switch (t) {
    case Type::kS32:
      instr->run = amount ? Bfind<int32_t, true> : Bfind<int32_t, false>;
      break;
    case Type::kS64:
      instr->run = amount ? Bfind<int64_t, true> : Bfind<int64_t, false>;
      break;
    case Type::kU64:
      instr->run = amount ? Bfind<uint64_t, true> : Bfind<uint64_t, false>;
      break;
    default:
      instr->run = amount ? Bfind<uint32_t, true> : Bfind<uint32_t, false>;
  }
}

void DecodeBmsk(const Statement& s, Builder& b, Instr* instr) {
  RequireOperands(s, 3);
  DecodeOperands(s, b, instr, 4);
  instr->run = s.Has("wrap") ? Map2<uint32_t, kMaskWrap> : Map2<uint32_t, kMask>;
}

void DecodeBrev(const Statement& s, Builder& b, Instr* instr) {
  RequireOperands(s, 2);
  DecodeOperands(s, b, instr, SizeOf(s.TypeAt(0)));
  SetHandler(s, instr, IntMap1<kReverse>(s.TypeAt(0)));
}

void DecodeClz(const Statement& s, Builder& b, Instr* instr) { DecodeCount<true>(s, b, instr); }
void DecodePopc(const Statement& s, Builder& b, Instr* instr) { DecodeCount<false>(s, b, instr); }

void DecodePrmt(const Statement& s, Builder& b, Instr* instr) {
  RequireOperands(s, 4);
  if (s.mods.size() != 1) s.Fail("only the default mode is supported");
  DecodeOperands(s, b, instr, 4);
  instr->run = Map3<uint32_t, kPermute>;
}

void DecodeLop3(const Statement& s, Builder& b, Instr* instr) {
  RequireOperands(s, 5);
  for (size_t n = 1; n < 4; ++n) instr->r[n] = b.Read(s, s.operands[n], 4);
  instr->r[0] = b.Write(s, s.operands[0], 4);
  instr->imm = static_cast<int64_t>(s.operands[4].value);
  instr->run = Lop3;
}

}  // namespace ptxsim
