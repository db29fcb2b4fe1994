// What the kernels ask of a vector: 16 floats, whatever the width of the machine's registers. Each
// instruction set has one such type (vec_avx512.h, vec_avx2.h, vec_portable.h) with
//
//   Zero(), Set1(x)            all lanes 0, or x
//   Load(p), Store(p)          16 floats at any address; Load and LoadN take bf16 too, and widen it
//   LoadN(p, n), StoreN(p, n)  the first n of 16, the other lanes 0; nothing behind them is touched
//   WidenPairs(p, even, odd)   64 bytes of packed bf16 pairs (panels.h) -> the even k, the odd k, as floats
//   + - * /, Fma(a, b, c)      lane by lane; Fma is a * b + c, fused but in portable code
//   Max(a, b), Min(a, b)       lane by lane; b if either is NaN
//   Round(a), Scale2(a, n)     to the nearest integer, ties to even; a * 2^n
//   KeepIfNotBelow(a, x, y)    a where !(x < y), else 0
//   Sum(a), MaxLane(a)         over the 16 lanes, in one fixed tree
//   Sum16(v)                   lane i = sum over the lanes of v[i]; the same tree for every i
//
// Everything templated over a vector type is compiled once per instruction set, in a file built with that
// set's flags. Such files must not emit code that another file could be linked to: no std:: templates, only
// always-inline functions, statics, and templates over the vector type. tests/kernels checks the object
// files.
#ifndef HYDRAD_KERNELS_SIMD_VEC_H_
#define HYDRAD_KERNELS_SIMD_VEC_H_

#include <cstdint>

#include "kernels/types.h"

#define HYDRAD_INLINE [[gnu::always_inline]] static inline

namespace hydrad::simd {

constexpr int kLanes = 16;

HYDRAD_INLINE int MinInt(int a, int b) { return a < b ? a : b; }
HYDRAD_INLINE int MaxInt(int a, int b) { return a > b ? a : b; }
HYDRAD_INLINE void Prefetch(const void* p) { __builtin_prefetch(p, 0, 3); }
HYDRAD_INLINE void PrefetchL2(const void* p) { __builtin_prefetch(p, 0, 2); }

// e^x lane by lane: x = n ln2 + r, |r| <= ln2 / 2, e^r by the polynomial of Cephes expf. Relative error at
// most 3 * 2^-24 in [-87.3, 88.3] (2^-24 the unit roundoff); 0 below, e^88.3 above; NaN stays NaN. A lane's
// result depends on its value alone, so tails and whole vectors agree bit for bit.
template <class V>
[[gnu::always_inline]] inline V Exp(V x) {
  constexpr float kLow = -87.33654f;
  const V c = V::Min(V::Set1(88.3f), V::Max(V::Set1(kLow), x));
  const V n = V::Round(c * V::Set1(1.44269504f));
  const V r = V::Fma(n, V::Set1(2.12194440e-4f), V::Fma(n, V::Set1(-0.693359375f), c));
  V p = V::Fma(V::Set1(1.9875691500e-4f), r, V::Set1(1.3981999507e-3f));
  p = V::Fma(p, r, V::Set1(8.3334519073e-3f));
  p = V::Fma(p, r, V::Set1(4.1665795894e-2f));
  p = V::Fma(p, r, V::Set1(1.6666665459e-1f));
  p = V::Fma(p, r, V::Set1(5.0000001201e-1f));
  p = V::Fma(p, r * r, r) + V::Set1(1.f);
  return V::KeepIfNotBelow(V::Scale2(p, n), x, V::Set1(kLow));
}

}  // namespace hydrad::simd

#endif  // HYDRAD_KERNELS_SIMD_VEC_H_
