// Integer arithmetic; the float forms of the shared opcodes are in float.cc.
#include <algorithm>
#include <limits>

#include "ops/decoders.h"
#include "ops/lanes.h"

namespace ptxsim {
namespace {

template <class T>
using Unsigned = std::conditional_t<sizeof(T) == 8, uint64_t, uint32_t>;
template <class T>
using Twice = std::conditional_t<
    std::is_signed_v<T>,
    std::conditional_t<sizeof(T) == 2, int32_t, std::conditional_t<sizeof(T) == 4, int64_t, __int128>>,
    std::conditional_t<sizeof(T) == 2, uint32_t,
                       std::conditional_t<sizeof(T) == 4, uint64_t, unsigned __int128>>>;

constexpr auto kAdd = []<class T>(T a, T b) {
  return static_cast<Unsigned<T>>(a) + static_cast<Unsigned<T>>(b);
};
constexpr auto kSub = []<class T>(T a, T b) {
  return static_cast<Unsigned<T>>(a) - static_cast<Unsigned<T>>(b);
};
constexpr auto kMulLow = []<class T>(T a, T b) {
  return static_cast<Unsigned<T>>(a) * static_cast<Unsigned<T>>(b);
};
constexpr auto kMulHigh = []<class T>(T a, T b) {
  return static_cast<Twice<T>>(static_cast<Twice<T>>(a) * b) >> (8 * sizeof(T));
};
constexpr auto kMadLow = []<class T>(T a, T b, T c) {
  return static_cast<Unsigned<T>>(a) * static_cast<Unsigned<T>>(b) + static_cast<Unsigned<T>>(c);
};
constexpr auto kMadHigh = []<class T>(T a, T b, T c) {
  return (static_cast<Twice<T>>(static_cast<Twice<T>>(a) * b) >> (8 * sizeof(T))) + c;
};
// Division by zero yields all ones, as the hardware's routine does.
constexpr auto kDiv = []<class T>(T a, T b) -> T {
  if (b == 0) return static_cast<T>(-1);
  if (std::is_signed_v<T> && b == static_cast<T>(-1))
    return static_cast<T>(Unsigned<T>{0} - static_cast<Unsigned<T>>(a));
  return static_cast<T>(a / b);
};
constexpr auto kRem = []<class T>(T a, T b) -> T {
  if (b == 0) return a;
  if (std::is_signed_v<T> && b == static_cast<T>(-1)) return 0;
  return static_cast<T>(a % b);
};
constexpr auto kMin = [](auto a, auto b) { return std::min(a, b); };
constexpr auto kMax = [](auto a, auto b) { return std::max(a, b); };
constexpr auto kNeg = []<class T>(T a) { return Unsigned<T>{0} - static_cast<Unsigned<T>>(a); };
constexpr auto kAbs = []<class T>(T a) {
  return a < 0 ? Unsigned<T>{0} - static_cast<Unsigned<T>>(a) : static_cast<Unsigned<T>>(a);
};
constexpr auto kAddSaturated = [](int32_t a, int32_t b) {
  return static_cast<int32_t>(std::clamp<int64_t>(int64_t{a} + b, std::numeric_limits<int32_t>::min(),
                                                  std::numeric_limits<int32_t>::max()));
};
constexpr auto kSubSaturated = [](int32_t a, int32_t b) {
  return static_cast<int32_t>(std::clamp<int64_t>(int64_t{a} - b, std::numeric_limits<int32_t>::min(),
                                                  std::numeric_limits<int32_t>::max()));
};

// d (twice as wide) = a * b [+ c]
template <class T, bool kPlus>
void MulWide(Warp& w, const Instr& i, uint32_t lanes) {
  Twice<T>* d = w.At<Twice<T>>(i.r[0]);
  const T *a = w.At<T>(i.r[1]), *b = w.At<T>(i.r[2]);
  const Twice<T>* c = w.At<Twice<T>>(i.r[3]);
  ForLanes(lanes, [=](int l) {
    Unsigned<Twice<T>> product = static_cast<Unsigned<Twice<T>>>(static_cast<Twice<T>>(a[l]) * b[l]);
    d[l] = static_cast<Twice<T>>(kPlus ? product + static_cast<Unsigned<Twice<T>>>(c[l]) : product);
  });
}

template <bool kPlus>
Handler WideHandler(Type t) {
  switch (t) {
    case Type::kU16:
      return MulWide<uint16_t, kPlus>;
    case Type::kS16:
      return MulWide<int16_t, kPlus>;
    case Type::kU32:
      return MulWide<uint32_t, kPlus>;
    case Type::kS32:
      return MulWide<int32_t, kPlus>;
    default:
      return nullptr;
  }
}

void DecodeWide(const Statement& s, Builder& b, Instr* instr, Type t) {
  int bytes = SizeOf(t);
  bool plus = s.operands.size() == 4;
  instr->r[0] = b.Write(s, s.operands[0], 2 * bytes);
  instr->r[1] = b.Read(s, s.operands[1], bytes);
  instr->r[2] = b.Read(s, s.operands[2], bytes);
  if (plus) instr->r[3] = b.Read(s, s.operands[3], 2 * bytes);
  SetHandler(s, instr, plus ? WideHandler<true>(t) : WideHandler<false>(t));
}

// The common shape: float types have their own handler, integers theirs.
void Decode(const Statement& s, Builder& b, Instr* instr, size_t operands,
            Handler (*of_float)(const Statement&, Type), Handler (*of_int)(Type)) {
  Type t = s.TypeAt(0);
  RequireOperands(s, operands);
  if (s.Has("cc")) s.Fail("carries are not supported");
  DecodeOperands(s, b, instr, SizeOf(t));
  SetHandler(s, instr, IsFloat(t) ? of_float(s, t) : of_int(t));
}

Handler NoFloat(const Statement&, Type) { return nullptr; }

}  // namespace

void DecodeAdd(const Statement& s, Builder& b, Instr* instr) {
  Decode(s, b, instr, 3, FloatAdd, IntMap2<kAdd>);
  if (s.Has("sat") && s.TypeAt(0) == Type::kS32) instr->run = Map2<int32_t, kAddSaturated>;
}

void DecodeSub(const Statement& s, Builder& b, Instr* instr) {
  Decode(s, b, instr, 3, FloatSub, IntMap2<kSub>);
  if (s.Has("sat") && s.TypeAt(0) == Type::kS32) instr->run = Map2<int32_t, kSubSaturated>;
}

void DecodeMul(const Statement& s, Builder& b, Instr* instr) {
  if (s.Has("wide")) return DecodeWide(s, b, instr, s.TypeAt(0));
  Decode(s, b, instr, 3, FloatMul, s.Has("hi") ? IntMap2<kMulHigh> : IntMap2<kMulLow>);
}

void DecodeMad(const Statement& s, Builder& b, Instr* instr) {
  if (s.Has("wide")) return DecodeWide(s, b, instr, s.TypeAt(0));
  if (s.Has("sat")) s.Fail("saturation is not supported");
  Decode(s, b, instr, 4, FloatFma, s.Has("hi") ? IntMap3<kMadHigh> : IntMap3<kMadLow>);
}

void DecodeDiv(const Statement& s, Builder& b, Instr* instr) {
  Decode(s, b, instr, 3, FloatDiv, IntMap2<kDiv>);
}
void DecodeRem(const Statement& s, Builder& b, Instr* instr) {
  Decode(s, b, instr, 3, NoFloat, IntMap2<kRem>);
}
void DecodeMin(const Statement& s, Builder& b, Instr* instr) {
  Decode(s, b, instr, 3, FloatMin, IntMap2<kMin>);
}
void DecodeMax(const Statement& s, Builder& b, Instr* instr) {
  Decode(s, b, instr, 3, FloatMax, IntMap2<kMax>);
}
void DecodeAbs(const Statement& s, Builder& b, Instr* instr) {
  Decode(s, b, instr, 2, FloatAbs, IntMap1<kAbs>);
}
void DecodeNeg(const Statement& s, Builder& b, Instr* instr) {
  Decode(s, b, instr, 2, FloatNeg, IntMap1<kNeg>);
}

}  // namespace ptxsim
