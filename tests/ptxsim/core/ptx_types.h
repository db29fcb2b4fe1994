// The PTX scalar types and the two 16-bit float formats, as the interpreter computes with them.
#pragma once

#include <bit>
#include <cstdint>
#include <string_view>

namespace ptxsim {

inline constexpr int kWarpSize = 32;
inline constexpr uint32_t kAllLanes = ~0u;

enum class Type : uint8_t {
  kNone,
  kPred,
  kB8,
  kU8,
  kS8,
  kB16,
  kU16,
  kS16,
  kB32,
  kU32,
  kS32,
  kB64,
  kU64,
  kS64,
  kB128,
  kF16,
  kBF16,
  kF32,
  kF64,
  kF16x2,
  kBF16x2,
  kTF32,
};

// "f32" -> Type::kF32; kNone for a word that is no type.
Type ParseType(std::string_view word);
const char* TypeName(Type type);

// Bytes of one value. A predicate has none: it is one bit of a 32-lane mask.
constexpr int SizeOf(Type type) {
  switch (type) {
    case Type::kNone:
    case Type::kPred:
      return 0;
    case Type::kB8:
    case Type::kU8:
    case Type::kS8:
      return 1;
    case Type::kB16:
    case Type::kU16:
    case Type::kS16:
    case Type::kF16:
    case Type::kBF16:
      return 2;
    case Type::kB64:
    case Type::kU64:
    case Type::kS64:
    case Type::kF64:
      return 8;
    case Type::kB128:
      return 16;
    default:
      return 4;
  }
}

constexpr bool IsSigned(Type type) {
  return type == Type::kS8 || type == Type::kS16 || type == Type::kS32 || type == Type::kS64;
}

constexpr bool IsFloat(Type type) { return type >= Type::kF16; }

inline float BitsToFloat(uint32_t bits) { return std::bit_cast<float>(bits); }
inline uint32_t FloatToBits(float value) { return std::bit_cast<uint32_t>(value); }

// The float nearest to `value` in the sense of round-to-odd: rounding it once more, to 16 bits, gives what a
// single rounding of `value` would have given.
inline float RoundToOdd(double value) {
  float nearest = static_cast<float>(value);
  uint32_t bits = FloatToBits(nearest);
  if (static_cast<double>(nearest) == value || (bits & 1) || nearest != nearest ||
      (bits & 0x7fffffff) == 0x7f800000) {
    return nearest;
  }
  bool away = (value > nearest) == (nearest > 0 || (nearest == 0 && value > 0));
  return BitsToFloat(away ? bits + 1 : bits - 1);
}

inline float HalfBitsToFloat(uint16_t bits) { return static_cast<float>(std::bit_cast<_Float16>(bits)); }
inline uint16_t FloatToHalfBits(float value) { return std::bit_cast<uint16_t>(static_cast<_Float16>(value)); }
inline float BFloatBitsToFloat(uint16_t bits) { return BitsToFloat(static_cast<uint32_t>(bits) << 16); }
inline uint16_t FloatToBFloatBits(float value) {
  uint32_t bits = FloatToBits(value);
  if ((bits & 0x7fffffff) > 0x7f800000) return 0x7fff;  // the canonical NaN of PTX
  return static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

// 16-bit floats as values: they convert to double, so that an expression over them is computed (all but)
// exactly and rounded once, when it is put back.
struct F16 {
  uint16_t bits;
  F16() = default;
  explicit F16(double value) : bits(FloatToHalfBits(RoundToOdd(value))) {}
  operator double() const { return HalfBitsToFloat(bits); }
};
struct BF16 {
  uint16_t bits;
  BF16() = default;
  explicit BF16(double value) : bits(FloatToBFloatBits(RoundToOdd(value))) {}
  operator double() const { return BFloatBitsToFloat(bits); }
};
template <class T>
struct Pair {
  T lo, hi;
};

}  // namespace ptxsim
