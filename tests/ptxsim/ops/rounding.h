// Rounding in a given direction, for the few instructions that do not round to nearest.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

#include "core/ptx_types.h"

namespace ptxsim {

enum class Rounding : uint8_t { kNearest, kZero, kDown, kUp };

// The double that stands for sum + error (|error| below half a unit of sum) in every later, coarser rounding.
inline double OddDouble(double sum, double error) {
  uint64_t bits = std::bit_cast<uint64_t>(sum);
  if (error == 0 || !(std::fabs(sum) < std::numeric_limits<double>::infinity()) || bits & 1) return sum;
  bool grows = (error > 0) == (sum > 0);
  return std::bit_cast<double>(grows ? bits + 1 : bits - 1);
}

// Whether `rounded`, nearest to `exact`, lies on the wrong side of it for this direction.
inline bool Overshoots(double rounded, double exact, Rounding r) {
  switch (r) {
    case Rounding::kZero:
      return std::fabs(rounded) > std::fabs(exact);
    case Rounding::kDown:
      return rounded > exact;
    case Rounding::kUp:
      return rounded < exact;
    default:
      return false;
  }
}

inline float NarrowToFloat(double value, Rounding r) {
  float f = static_cast<float>(value);
  if (!Overshoots(f, value, r)) return f;
  float toward = r == Rounding::kZero   ? 0.0f
                 : r == Rounding::kDown ? -std::numeric_limits<float>::infinity()
                                        : std::numeric_limits<float>::infinity();
  return std::nextafter(f, toward);
}

// The same for a 16-bit format, whose neighbours are bits +- 1 away from zero.
template <class Half>
uint16_t NarrowToHalf(double value, Rounding r) {
  Half half(value);
  if (!Overshoots(static_cast<double>(half), value, r)) return half.bits;
  bool smaller = r == Rounding::kZero || (r == Rounding::kDown) == (value > 0);  // in magnitude
  return static_cast<uint16_t>(smaller ? half.bits - 1 : half.bits + 1);
}

}  // namespace ptxsim
