// The vector of vec.h in plain C++: runs anywhere, and the compiler uses what its base instruction set has.
#ifndef HYDRAD_KERNELS_SIMD_VEC_PORTABLE_H_
#define HYDRAD_KERNELS_SIMD_VEC_PORTABLE_H_

#include <bit>

#include "kernels/simd/vec.h"

namespace hydrad::simd {

struct VecPortable {
  using V = VecPortable;
  typedef float Lanes __attribute__((vector_size(64)));
  typedef int32_t Ints __attribute__((vector_size(64)));
  Lanes v;

  HYDRAD_INLINE V Zero() { return {Lanes{}}; }
  HYDRAD_INLINE V Set1(float x) { return {x - Lanes{}}; }
  template <class T>
  HYDRAD_INLINE V Load(const T* p) {
    return LoadN(p, kLanes);
  }
  template <class T>
  HYDRAD_INLINE V LoadN(const T* p, int n) {
    V r = Zero();
    for (int i = 0; i < n; ++i) r.v[i] = ToFloat(p[i]);
    return r;
  }
  [[gnu::always_inline]] void Store(float* p) const { __builtin_memcpy(p, &v, sizeof v); }
  [[gnu::always_inline]] void StoreN(float* p, int n) const {
    for (int i = 0; i < n; ++i) p[i] = v[i];
  }
  HYDRAD_INLINE void WidenPairs(const void* p, V& even, V& odd) {
    Ints raw;
    __builtin_memcpy(&raw, p, sizeof raw);
    even.v = reinterpret_cast<Lanes>(raw << 16);
    odd.v = reinterpret_cast<Lanes>(raw & static_cast<int>(0xffff0000u));
  }

  [[gnu::always_inline]] friend V operator+(V x, V y) { return {x.v + y.v}; }
  [[gnu::always_inline]] friend V operator-(V x, V y) { return {x.v - y.v}; }
  [[gnu::always_inline]] friend V operator*(V x, V y) { return {x.v * y.v}; }
  [[gnu::always_inline]] friend V operator/(V x, V y) { return {x.v / y.v}; }
  HYDRAD_INLINE V Fma(V x, V y, V z) { return {x.v * y.v + z.v}; }
  HYDRAD_INLINE V Max(V x, V y) { return Select(x.v > y.v, x, y); }
  HYDRAD_INLINE V Min(V x, V y) { return Select(x.v < y.v, x, y); }
  // Adding 1.5 * 2^23 pushes the fraction out, to even; |x| is small where Exp calls this.
  HYDRAD_INLINE V Round(V x) { return {(x.v + 12582912.f) - 12582912.f}; }
  HYDRAD_INLINE V Scale2(V x, V n) {
    const Ints e = __builtin_convertvector(n.v, Ints) + 127;
    return {x.v * reinterpret_cast<Lanes>(e << 23)};
  }
  HYDRAD_INLINE V KeepIfNotBelow(V x, V y, V limit) { return Select(y.v < limit.v, Zero(), x); }

  HYDRAD_INLINE float Sum(V x) {
    float t[kLanes];
    x.Store(t);
    for (int step = 8; step; step /= 2) {
      for (int i = 0; i < step; ++i) t[i] += t[i + step];
    }
    return t[0];
  }
  HYDRAD_INLINE float MaxLane(V x) {
    float m = x.v[0];
    for (int i = 1; i < kLanes; ++i) m = m > x.v[i] ? m : x.v[i];
    return m;
  }
  HYDRAD_INLINE V Sum16(const V (&v)[kLanes]) {
    V r = Zero();
    for (int i = 0; i < kLanes; ++i) r.v[i] = Sum(v[i]);
    return r;
  }

 private:
  HYDRAD_INLINE V Select(Ints which, V x, V y) {
    const Ints a = reinterpret_cast<Ints>(x.v), b = reinterpret_cast<Ints>(y.v);
    return {reinterpret_cast<Lanes>((a & which) | (b & ~which))};
  }
};

}  // namespace hydrad::simd

#endif  // HYDRAD_KERNELS_SIMD_VEC_PORTABLE_H_
