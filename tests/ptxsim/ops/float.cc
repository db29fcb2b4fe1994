// Floating-point arithmetic. The .approx functions use the C library's, which are at least as exact.
#include <cmath>

#include "ops/decoders.h"
#include "ops/lanes.h"
#include "ops/rounding.h"

namespace ptxsim {
namespace {

// ---- modifiers, as functions of functions

template <class T>
T Flush(T value) {
  if constexpr (std::is_same_v<T, float>) {
    bool denormal = std::fabs(value) < 1.17549435e-38f;
    return denormal ? std::copysign(0.0f, value) : value;
  } else {
    return value;
  }
}
template <auto F>
constexpr auto kFlushed = [](auto... x) { return Flush(F(Flush(x)...)); };
template <auto F>
constexpr auto kSaturated = [](auto... x) {
  auto v = F(x...);
  return v > 0 ? (v < 1 ? v : static_cast<decltype(v)>(1)) : static_cast<decltype(v)>(0);  // NaN becomes 0
};

template <class T, auto F, int kOperands>
constexpr Handler MapN() {
  if constexpr (kOperands == 1)
    return Map1<T, F>;
  else if constexpr (kOperands == 2)
    return Map2<T, F>;
  else
    return Map3<T, F>;
}

template <auto F, int kOperands>
Handler FloatMap(const Statement& s, Type t) {
  bool ftz = s.Has("ftz"), sat = s.Has("sat");
  if (s.Has("relu") || s.Has("xorsign") || (sat && t != Type::kF32)) return nullptr;
  switch (t) {
    case Type::kF32:
      if (sat)
        return ftz ? MapN<float, kSaturated<kFlushed<F>>, kOperands>()
                   : MapN<float, kSaturated<F>, kOperands>();
      return ftz ? MapN<float, kFlushed<F>, kOperands>() : MapN<float, F, kOperands>();
    case Type::kF64:
      return MapN<double, F, kOperands>();
    case Type::kF16:
      return MapN<F16, F, kOperands>();
    case Type::kBF16:
      return MapN<BF16, F, kOperands>();
    case Type::kF16x2:
      return MapN<Pair<F16>, F, kOperands>();
    case Type::kBF16x2:
      return MapN<Pair<BF16>, F, kOperands>();
    default:
      return nullptr;
  }
}

// ---- the operations

constexpr auto kAdd = [](auto a, auto b) { return a + b; };
constexpr auto kSub = [](auto a, auto b) { return a - b; };
constexpr auto kMul = [](auto a, auto b) { return a * b; };
constexpr auto kDiv = [](auto a, auto b) { return a / b; };
constexpr auto kFma = [](auto a, auto b, auto c) {
  if constexpr (std::is_same_v<decltype(a), float>)
    return __builtin_fmaf(a, b, c);
  else
    return __builtin_fma(static_cast<double>(a), static_cast<double>(b), static_cast<double>(c));
};
// A NaN loses against a number; -0 is less than +0.
constexpr auto kMin = [](auto a, auto b) {
  return a == b ? (std::signbit(static_cast<double>(a)) ? a : b) : (a < b || b != b) ? a : b;
};
constexpr auto kMax = [](auto a, auto b) {
  return a == b ? (std::signbit(static_cast<double>(a)) ? b : a) : (a > b || b != b) ? a : b;
};
constexpr auto kMinNan = [](auto a, auto b) { return a != a ? a : b != b ? b : kMin(a, b); };
constexpr auto kMaxNan = [](auto a, auto b) { return a != a ? a : b != b ? b : kMax(a, b); };
template <class T>
auto Widen(T a) {
  if constexpr (std::is_same_v<T, float>)
    return a;
  else
    return static_cast<double>(a);
}
constexpr auto kAbs = [](auto a) { return std::fabs(Widen(a)); };
constexpr auto kNeg = [](auto a) { return -Widen(a); };
constexpr auto kSqrt = [](auto a) { return std::sqrt(Widen(a)); };
constexpr auto kRcp = [](auto a) { return decltype(Widen(a)){1} / Widen(a); };
constexpr auto kRsqrt = [](auto a) {
  double d = 1.0 / std::sqrt(static_cast<double>(a));
  return static_cast<decltype(Widen(a))>(d);
};
constexpr auto kExp2 = [](auto a) { return std::exp2(Widen(a)); };
constexpr auto kLog2 = [](auto a) { return std::log2(Widen(a)); };
constexpr auto kSin = [](auto a) { return std::sin(Widen(a)); };
constexpr auto kCos = [](auto a) { return std::cos(Widen(a)); };
constexpr auto kTanh = [](auto a) { return std::tanh(Widen(a)); };

// a * b + c rounded as asked: the product of floats is exact in double, the sum is made odd if it is not.
template <Rounding R>
constexpr auto kFmaRounded = [](float a, float b, float c) {
  double product = static_cast<double>(a) * b, addend = c;
  double sum = product + addend, part = sum - product;
  double error = (product - (sum - part)) + (addend - part);
  return NarrowToFloat(OddDouble(sum, error), R);
};
template <Rounding R>
constexpr auto kAddRounded = [](float a, float b) { return kFmaRounded<R>(a, 1.0f, b); };
template <Rounding R>
constexpr auto kSubRounded = [](float a, float b) { return kFmaRounded<R>(a, 1.0f, -b); };
template <Rounding R>
constexpr auto kMulRounded = [](float a, float b) { return NarrowToFloat(static_cast<double>(a) * b, R); };

bool Nearest(const Statement& s) { return !s.Has("rz") && !s.Has("rm") && !s.Has("rp"); }

// Picks among the three directed forms of an f32 operation.
template <auto Rz, auto Rm, auto Rp, int kOperands>
Handler Directed(const Statement& s, Type t) {
  if (t != Type::kF32 || s.Has("sat") || s.Has("ftz")) return nullptr;
  return s.Has("rz")   ? MapN<float, Rz, kOperands>()
         : s.Has("rm") ? MapN<float, Rm, kOperands>()
                       : MapN<float, Rp, kOperands>();
}

constexpr Rounding kRz = Rounding::kZero, kRm = Rounding::kDown, kRp = Rounding::kUp;

}  // namespace

Handler FloatAdd(const Statement& s, Type t) {
  if (!Nearest(s)) return Directed<kAddRounded<kRz>, kAddRounded<kRm>, kAddRounded<kRp>, 2>(s, t);
  return FloatMap<kAdd, 2>(s, t);
}
Handler FloatSub(const Statement& s, Type t) {
  if (!Nearest(s)) return Directed<kSubRounded<kRz>, kSubRounded<kRm>, kSubRounded<kRp>, 2>(s, t);
  return FloatMap<kSub, 2>(s, t);
}
Handler FloatMul(const Statement& s, Type t) {
  if (!Nearest(s)) return Directed<kMulRounded<kRz>, kMulRounded<kRm>, kMulRounded<kRp>, 2>(s, t);
  return FloatMap<kMul, 2>(s, t);
}
Handler FloatFma(const Statement& s, Type t) {
  if (!Nearest(s)) return Directed<kFmaRounded<kRz>, kFmaRounded<kRm>, kFmaRounded<kRp>, 3>(s, t);
  return FloatMap<kFma, 3>(s, t);
}
Handler FloatDiv(const Statement& s, Type t) { return Nearest(s) ? FloatMap<kDiv, 2>(s, t) : nullptr; }
Handler FloatMin(const Statement& s, Type t) {
  return s.Has("NaN") ? FloatMap<kMinNan, 2>(s, t) : FloatMap<kMin, 2>(s, t);
}
Handler FloatMax(const Statement& s, Type t) {
  return s.Has("NaN") ? FloatMap<kMaxNan, 2>(s, t) : FloatMap<kMax, 2>(s, t);
}
Handler FloatAbs(const Statement& s, Type t) { return FloatMap<kAbs, 1>(s, t); }
Handler FloatNeg(const Statement& s, Type t) { return FloatMap<kNeg, 1>(s, t); }

void DecodeFma(const Statement& s, Builder& b, Instr* instr) {
  RequireOperands(s, 4);
  DecodeOperands(s, b, instr, SizeOf(s.TypeAt(0)));
  SetHandler(s, instr, FloatFma(s, s.TypeAt(0)));
}

void DecodeFloatUnary(const Statement& s, Builder& b, Instr* instr) {
  RequireOperands(s, 2);
  Type t = s.TypeAt(0);
  DecodeOperands(s, b, instr, SizeOf(t));
  if (!Nearest(s)) s.Fail("directed rounding is not supported");
  Handler handler = s.base == "sqrt"    ? FloatMap<kSqrt, 1>(s, t)
                    : s.base == "rsqrt" ? FloatMap<kRsqrt, 1>(s, t)
                    : s.base == "rcp"   ? FloatMap<kRcp, 1>(s, t)
                    : s.base == "ex2"   ? FloatMap<kExp2, 1>(s, t)
                    : s.base == "lg2"   ? FloatMap<kLog2, 1>(s, t)
                    : s.base == "sin"   ? FloatMap<kSin, 1>(s, t)
                    : s.base == "cos"   ? FloatMap<kCos, 1>(s, t)
                                        : FloatMap<kTanh, 1>(s, t);
  SetHandler(s, instr, handler);
}

// d = b with the sign of a.
void DecodeCopysign(const Statement& s, Builder& b, Instr* instr) {
  RequireOperands(s, 3);
  Type t = s.TypeAt(0);
  DecodeOperands(s, b, instr, SizeOf(t));
  constexpr auto kCopy = [](auto a, auto magnitude) { return std::copysign(magnitude, a); };
  instr->run = t == Type::kF64 ? Map2<double, kCopy> : Map2<float, kCopy>;
}

}  // namespace ptxsim
