// cvt and mov. A cvt's registers may be wider than its types, so the general path goes lane by lane through a
// 64-bit (or double) value; the conversions that kernels are full of have loops of their own.
#include <cmath>
#include <cstring>
#include <limits>

#include "ops/decoders.h"
#include "ops/lanes.h"
#include "ops/rounding.h"

namespace ptxsim {
namespace {

// ---- fast paths: types as wide as their registers

template <class To, class From, auto F>
void Convert(Warp& w, const Instr& i, uint32_t lanes) {
  To* d = w.At<To>(i.r[0]);
  const From* a = w.At<From>(i.r[1]);
  ForLanes(lanes, [=](int l) { d[l] = F(a[l]); });
}

template <class To>
constexpr auto kCast = [](auto a) { return static_cast<To>(a); };
constexpr auto kFromBF16 = [](uint16_t a) { return BFloatBitsToFloat(a); };
constexpr auto kFromF16 = [](uint16_t a) { return HalfBitsToFloat(a); };
constexpr auto kToBF16 = [](float a) { return FloatToBFloatBits(a); };
constexpr auto kToF16 = [](float a) { return FloatToHalfBits(a); };

Handler Fast(const Statement& s, Type to, Type from) {
  if (s.Has("sat") || s.Has("ftz") || s.Has("relu")) return nullptr;
  bool rounds_up_to_nearest = !s.Has("rz") && !s.Has("rm") && !s.Has("rp") && !s.Has("rna");
  auto is = [&](Type t, Type f) { return to == t && from == f; };
  if (is(Type::kS64, Type::kS32) || is(Type::kU64, Type::kS32))
    return Convert<int64_t, int32_t, kCast<int64_t>>;
  if (is(Type::kU64, Type::kU32) || is(Type::kS64, Type::kU32))
    return Convert<uint64_t, uint32_t, kCast<uint64_t>>;
  if (SizeOf(to) == 4 && SizeOf(from) == 8 && !IsFloat(to) && !IsFloat(from)) {
    return Convert<uint32_t, uint64_t, kCast<uint32_t>>;
  }
  if (SizeOf(to) == 2 && SizeOf(from) == 4 && !IsFloat(to) && !IsFloat(from)) {
    return Convert<uint16_t, uint32_t, kCast<uint16_t>>;
  }
  if (SizeOf(to) == 4 && from == Type::kU16 && !IsFloat(to))
    return Convert<uint32_t, uint16_t, kCast<uint32_t>>;
  if (SizeOf(to) == 4 && from == Type::kS16 && !IsFloat(to)) return Convert<int32_t, int16_t, kCast<int32_t>>;
  if (is(Type::kF32, Type::kBF16)) return Convert<float, uint16_t, kFromBF16>;
  if (is(Type::kF32, Type::kF16)) return Convert<float, uint16_t, kFromF16>;
  if (!rounds_up_to_nearest) return nullptr;
  if (is(Type::kBF16, Type::kF32)) return Convert<uint16_t, float, kToBF16>;
  if (is(Type::kF16, Type::kF32)) return Convert<uint16_t, float, kToF16>;
  if (is(Type::kF32, Type::kS32)) return Convert<float, int32_t, kCast<float>>;
  if (is(Type::kF32, Type::kU32)) return Convert<float, uint32_t, kCast<float>>;
  return nullptr;
}

// ---- the general path

struct Number {
  bool is_float;
  double f;    // if is_float
  __int128 i;  // else
};

// What instr->imm carries.
struct Spec {
  Rounding rounding;
  bool to_integer;  // .rni .rzi .rmi .rpi
  bool sat, ftz, relu, tf32_away;
  uint8_t to_width, from_width;  // of the registers
};

Number ReadNumber(Type t, uint64_t raw) {
  switch (t) {
    case Type::kS8:
      return {false, 0, static_cast<int8_t>(raw)};
    case Type::kS16:
      return {false, 0, static_cast<int16_t>(raw)};
    case Type::kS32:
      return {false, 0, static_cast<int32_t>(raw)};
    case Type::kS64:
      return {false, 0, static_cast<int64_t>(raw)};
    case Type::kU8:
    case Type::kB8:
      return {false, 0, static_cast<uint8_t>(raw)};
    case Type::kU16:
    case Type::kB16:
      return {false, 0, static_cast<uint16_t>(raw)};
    case Type::kU32:
    case Type::kB32:
      return {false, 0, static_cast<uint32_t>(raw)};
    case Type::kF16:
      return {true, HalfBitsToFloat(static_cast<uint16_t>(raw)), 0};
    case Type::kBF16:
      return {true, BFloatBitsToFloat(static_cast<uint16_t>(raw)), 0};
    case Type::kF32:
      return {true, BitsToFloat(static_cast<uint32_t>(raw)), 0};
    case Type::kF64:
      return {true, std::bit_cast<double>(raw), 0};
    default:
      return {false, 0, static_cast<__int128>(raw)};
  }
}

double RoundToInteger(double f, Rounding r) {
  switch (r) {
    case Rounding::kZero:
      return std::trunc(f);
    case Rounding::kDown:
      return std::floor(f);
    case Rounding::kUp:
      return std::ceil(f);
    default:
      return std::nearbyint(f);
  }
}

uint64_t ToInteger(Type t, Number n, const Spec& spec) {
  int bits = 8 * SizeOf(t);
  __int128 low = IsSigned(t) ? -(static_cast<__int128>(1) << (bits - 1)) : 0;
  __int128 high = (static_cast<__int128>(1) << (IsSigned(t) ? bits - 1 : bits)) - 1;
  if (n.is_float) {
    if (n.f != n.f) return bits == 64 ? uint64_t{1} << 63 : 0;
    double f = RoundToInteger(n.f, spec.rounding);
    if (f <= static_cast<double>(low)) return static_cast<uint64_t>(low);
    if (f >= static_cast<double>(high)) return static_cast<uint64_t>(high);
    return static_cast<uint64_t>(static_cast<__int128>(f));
  }
  if (spec.sat) n.i = std::clamp(n.i, low, high);
  uint64_t v = static_cast<uint64_t>(n.i);
  if (bits == 64) return v;
  uint64_t kept = v & ((uint64_t{1} << bits) - 1);
  return IsSigned(t) && kept >> (bits - 1) & 1 ? kept | ~((uint64_t{1} << bits) - 1) : kept;
}

float ToTf32(double f, bool away) {
  uint32_t bits = FloatToBits(static_cast<float>(f));
  if (f != f) return static_cast<float>(f);
  bits += away ? 0x1000 : 0xfff + (bits >> 13 & 1);
  return BitsToFloat(bits & ~0x1fffu);
}

uint64_t ToFloat(Type t, Number n, const Spec& spec) {
  double f = n.f;
  if (!n.is_float) {  // exact in long double; the double that stands for it in the next rounding
    long double exact = static_cast<long double>(n.i);
    f = static_cast<double>(exact);
    if (t != Type::kF64) f = OddDouble(f, static_cast<double>(exact - f));
  }
  if (spec.to_integer) f = RoundToInteger(f, spec.rounding);
  if (spec.ftz && std::fabs(f) < std::numeric_limits<float>::min()) f = std::copysign(0.0, f);
  if (spec.sat) f = f > 0 ? std::min(f, 1.0) : 0.0;
  if (spec.relu && !(f > 0)) f = f != f ? f : 0.0;
  Rounding r = spec.to_integer ? Rounding::kNearest : spec.rounding;
  switch (t) {
    case Type::kF16:
      return NarrowToHalf<F16>(f, r);
    case Type::kBF16:
      return NarrowToHalf<BF16>(f, r);
    case Type::kTF32:
      return FloatToBits(ToTf32(f, spec.tf32_away));
    case Type::kF32:
      return FloatToBits(NarrowToFloat(f, r));
    default:
      return std::bit_cast<uint64_t>(f);
  }
}

uint64_t ConvertOne(const Instr& i, const Spec& spec, uint64_t raw) {
  Type from = static_cast<Type>(i.sub);
  Number n = ReadNumber(from, raw);
  return IsFloat(i.type) ? ToFloat(i.type, n, spec) : ToInteger(i.type, n, spec);
}

void ConvertGeneral(Warp& w, const Instr& i, uint32_t lanes) {
  Spec spec;
  std::memcpy(&spec, &i.imm, sizeof(spec));
  std::byte *d = w.At<std::byte>(i.r[0]), *a = w.At<std::byte>(i.r[1]);
  for (int l = 0; l < kWarpSize; ++l) {
    if (!(lanes >> l & 1)) continue;
    uint64_t raw = 0;
    std::memcpy(&raw, a + l * spec.from_width, spec.from_width);
    uint64_t result = ConvertOne(i, spec, raw);
    std::memcpy(d + l * spec.to_width, &result, spec.to_width);
  }
}

// cvt.rn.bf16x2.f32 d, a, b: a in the upper half.
template <auto F, bool kRelu>
void Pack(Warp& w, const Instr& i, uint32_t lanes) {
  uint32_t* d = w.At<uint32_t>(i.r[0]);
  const float *a = w.At<float>(i.r[1]), *b = w.At<float>(i.r[2]);
  ForLanes(lanes, [=](int l) {
    float hi = kRelu && a[l] < 0 ? 0.0f : a[l], lo = kRelu && b[l] < 0 ? 0.0f : b[l];
    d[l] = static_cast<uint32_t>(F(hi)) << 16 | F(lo);
  });
}

void DecodePack(const Statement& s, Builder& b, Instr* instr, Type to) {
  RequireOperands(s, 3);
  if (!s.Has("rn") || s.TypeAt(1) != Type::kF32 || s.Has("satfinite")) s.Fail("this form is not supported");
  DecodeOperands(s, b, instr, 4);
  bool relu = s.Has("relu");
  if (to == Type::kBF16x2)
    instr->run = relu ? Pack<kToBF16, true> : Pack<kToBF16, false>;
  else
    instr->run = relu ? Pack<kToF16, true> : Pack<kToF16, false>;
}

Spec ParseSpec(const Statement& s) {
  Spec spec{};
  spec.to_integer = s.Has("rni") || s.Has("rzi") || s.Has("rmi") || s.Has("rpi");
  spec.rounding = s.Has("rz") || s.Has("rzi")   ? Rounding::kZero
                  : s.Has("rm") || s.Has("rmi") ? Rounding::kDown
                  : s.Has("rp") || s.Has("rpi") ? Rounding::kUp
                                                : Rounding::kNearest;
  spec.sat = s.Has("sat"), spec.ftz = s.Has("ftz"), spec.relu = s.Has("relu"), spec.tf32_away = s.Has("rna");
  return spec;
}

// ---- mov

template <class T>
void Move(Warp& w, const Instr& i, uint32_t lanes) {
  T* d = w.At<T>(i.r[0]);
  const T* a = w.At<T>(i.r[1]);
  ForLanes(lanes, [=](int l) { d[l] = a[l]; });
}

void MovePredicate(Warp& w, const Instr& i, uint32_t lanes) {
  SetPredicate(w, i.r[0], lanes, *w.At<uint32_t>(i.r[1]));
}

// {a, b, ...} <-> one register: `vec` parts of `sub` bytes, low part first. kPack: r[0] is the whole.
template <bool kPack>
void MoveParts(Warp& w, const Instr& i, uint32_t lanes) {
  size_t bytes = i.sub, stride = bytes * i.vec;
  for (size_t n = 0; n < i.vec; ++n) {
    std::byte* whole = w.At<std::byte>(i.r[kPack ? 0 : i.vec]) + n * bytes;
    std::byte* part = w.At<std::byte>(i.r[kPack ? n + 1 : n]);
    for (size_t l = 0; l < kWarpSize; ++l) {
      if (!(lanes >> l & 1)) continue;
      if (kPack)
        std::memcpy(whole + l * stride, part + l * bytes, bytes);
      else
        std::memcpy(part + l * bytes, whole + l * stride, bytes);
    }
  }
}

void DecodeMoveParts(const Statement& s, Builder& b, Instr* instr, int whole_bytes) {
  bool pack = s.operands[1].kind == Operand::kVector;
  const std::vector<Operand>& parts = (pack ? s.operands[1] : s.operands[0]).parts;
  int bytes = whole_bytes / static_cast<int>(parts.size());
  instr->vec = static_cast<uint8_t>(parts.size());
  instr->sub = static_cast<uint8_t>(bytes);
  if (pack) {
    instr->r[0] = b.Write(s, s.operands[0], whole_bytes);
    for (size_t n = 0; n < parts.size(); ++n) instr->r[n + 1] = b.Read(s, parts[n], bytes);
  } else {
    for (size_t n = 0; n < parts.size(); ++n) instr->r[n] = b.Write(s, parts[n], bytes);
    instr->r[parts.size()] = b.Read(s, s.operands[1], whole_bytes);
  }
  instr->run = pack ? MoveParts<true> : MoveParts<false>;
}

}  // namespace

void DecodeCvt(const Statement& s, Builder& b, Instr* instr) {
  if (s.Has("pack")) s.Fail("cvt.pack is not supported");
  Type to = s.TypeAt(0), from = s.TypeAt(1);
  if (to == Type::kBF16x2 || to == Type::kF16x2) return DecodePack(s, b, instr, to);
  RequireOperands(s, 2);
  if (to == Type::kNone || from == Type::kNone || s.Has("satfinite")) s.Fail("this form is not supported");
  auto width = [&](const Operand& o, Type t) {
    return o.kind == Operand::kRegister ? SizeOf(o.type) : SizeOf(t);
  };
  int to_width = width(s.operands[0], to), from_width = width(s.operands[1], from);
  instr->r[0] = b.Write(s, s.operands[0], to_width);
  instr->r[1] = b.Read(s, s.operands[1], from_width);
  instr->type = to;
  instr->sub = static_cast<uint8_t>(from);
  Spec spec = ParseSpec(s);
  spec.to_width = static_cast<uint8_t>(to_width), spec.from_width = static_cast<uint8_t>(from_width);
  static_assert(sizeof(Spec) <= sizeof(instr->imm));
  std::memcpy(&instr->imm, &spec, sizeof(spec));
  instr->run = nullptr;
  if (to_width == SizeOf(to) && from_width == SizeOf(from)) instr->run = Fast(s, to, from);
  if (instr->run == nullptr) instr->run = ConvertGeneral;
}

void DecodeMov(const Statement& s, Builder& b, Instr* instr) {
  RequireOperands(s, 2);
  int bytes = SizeOf(s.TypeAt(0));
  if (s.operands[0].kind == Operand::kVector || s.operands[1].kind == Operand::kVector) {
    return DecodeMoveParts(s, b, instr, bytes);
  }
  instr->r[0] = b.Write(s, s.operands[0], bytes);
  instr->r[1] = b.Read(s, s.operands[1], bytes);
  if (s.operands[1].kind == Operand::kImmediate && s.operands[1].space == Space::kGeneric &&
      s.operands[1].symbolic) {
    s.Fail("address of an unknown kind of variable");
  }
  switch (bytes) {
    case 0:
      instr->run = MovePredicate;
      break;
    case 2:
      instr->run = Move<uint16_t>;
      break;
    case 4:
      instr->run = Move<uint32_t>;
      break;
    case 8:
      instr->run = Move<uint64_t>;
      break;
    case 16:
      instr->run = Move<unsigned __int128>;
      break;
    default:
      s.Fail("this width is not supported");
  }
}

}  // namespace ptxsim
