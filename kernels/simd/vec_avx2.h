// The vector of vec.h in two AVX registers (AVX2, FMA).
#ifndef HYDRAD_KERNELS_SIMD_VEC_AVX2_H_
#define HYDRAD_KERNELS_SIMD_VEC_AVX2_H_

#include <immintrin.h>

#include "kernels/simd/vec.h"

namespace hydrad::simd {

struct VecAvx2 {
  using V = VecAvx2;
  __m256 a, b;  // lanes 0..7, 8..15

  HYDRAD_INLINE V Zero() { return {_mm256_setzero_ps(), _mm256_setzero_ps()}; }
  HYDRAD_INLINE V Set1(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
  HYDRAD_INLINE __m256 Widen(const bf16* p) {
    const __m128i x = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(x), 16));
  }

  HYDRAD_INLINE V Load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
  HYDRAD_INLINE V Load(const bf16* p) { return {Widen(p), Widen(p + 8)}; }
  template <class T>
  HYDRAD_INLINE V LoadN(const T* p, int n) {
    float t[kLanes] = {};
    for (int i = 0; i < n; ++i) t[i] = ToFloat(p[i]);
    return Load(t);
  }
  [[gnu::always_inline]] void Store(float* p) const {
    _mm256_storeu_ps(p, a);
    _mm256_storeu_ps(p + 8, b);
  }
  [[gnu::always_inline]] void StoreN(float* p, int n) const {
    float t[kLanes];
    Store(t);
    for (int i = 0; i < n; ++i) p[i] = t[i];
  }
  HYDRAD_INLINE void WidenPairs(const void* p, V& even, V& odd) {
    const __m256i* raw = static_cast<const __m256i*>(p);
    const __m256i lo = _mm256_loadu_si256(raw), hi = _mm256_loadu_si256(raw + 1);
    const __m256i upper = _mm256_set1_epi32(static_cast<int>(0xffff0000u));
    even = {_mm256_castsi256_ps(_mm256_slli_epi32(lo, 16)), _mm256_castsi256_ps(_mm256_slli_epi32(hi, 16))};
    odd = {_mm256_castsi256_ps(_mm256_and_si256(lo, upper)),
           _mm256_castsi256_ps(_mm256_and_si256(hi, upper))};
  }

  [[gnu::always_inline]] friend V operator+(V x, V y) {
    return {_mm256_add_ps(x.a, y.a), _mm256_add_ps(x.b, y.b)};
  }
  [[gnu::always_inline]] friend V operator-(V x, V y) {
    return {_mm256_sub_ps(x.a, y.a), _mm256_sub_ps(x.b, y.b)};
  }
  [[gnu::always_inline]] friend V operator*(V x, V y) {
    return {_mm256_mul_ps(x.a, y.a), _mm256_mul_ps(x.b, y.b)};
  }
  [[gnu::always_inline]] friend V operator/(V x, V y) {
    return {_mm256_div_ps(x.a, y.a), _mm256_div_ps(x.b, y.b)};
  }
  HYDRAD_INLINE V Fma(V x, V y, V z) {
    return {_mm256_fmadd_ps(x.a, y.a, z.a), _mm256_fmadd_ps(x.b, y.b, z.b)};
  }
  HYDRAD_INLINE V Max(V x, V y) { return {_mm256_max_ps(x.a, y.a), _mm256_max_ps(x.b, y.b)}; }
  HYDRAD_INLINE V Min(V x, V y) { return {_mm256_min_ps(x.a, y.a), _mm256_min_ps(x.b, y.b)}; }
  HYDRAD_INLINE V Round(V x) {
    constexpr int kNearest = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
    return {_mm256_round_ps(x.a, kNearest), _mm256_round_ps(x.b, kNearest)};
  }
  HYDRAD_INLINE V Scale2(V x, V n) { return {x.a * Power2(n.a), x.b * Power2(n.b)}; }
  HYDRAD_INLINE V KeepIfNotBelow(V x, V y, V limit) {
    return {_mm256_and_ps(_mm256_cmp_ps(y.a, limit.a, _CMP_NLT_UQ), x.a),
            _mm256_and_ps(_mm256_cmp_ps(y.b, limit.b, _CMP_NLT_UQ), x.b)};
  }

  HYDRAD_INLINE float Sum(V x) {
    const __m256 h = _mm256_add_ps(x.a, x.b);
    __m128 q = _mm_add_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
    q = _mm_add_ps(q, _mm_movehl_ps(q, q));
    return _mm_cvtss_f32(_mm_add_ss(q, _mm_movehdup_ps(q)));
  }
  HYDRAD_INLINE float MaxLane(V x) {
    const __m256 h = _mm256_max_ps(x.a, x.b);
    __m128 q = _mm_max_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
    q = _mm_max_ps(q, _mm_movehl_ps(q, q));
    return _mm_cvtss_f32(_mm_max_ss(q, _mm_movehdup_ps(q)));
  }
  HYDRAD_INLINE V Sum16(const V (&v)[kLanes]) { return {Sum8(v), Sum8(v + 8)}; }

 private:
  HYDRAD_INLINE __m256 Power2(__m256 n) {
    const __m256i e = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
    return _mm256_castsi256_ps(_mm256_slli_epi32(e, 23));
  }
  // The eight sums of v[0..7]; the same tree for each of them.
  HYDRAD_INLINE __m256 Sum8(const V* v) {
    __m256 h[8];
    for (int i = 0; i < 8; ++i) h[i] = _mm256_add_ps(v[i].a, v[i].b);
    const __m256 ab = _mm256_hadd_ps(h[0], h[1]), cd = _mm256_hadd_ps(h[2], h[3]);
    const __m256 ef = _mm256_hadd_ps(h[4], h[5]), gh = _mm256_hadd_ps(h[6], h[7]);
    const __m256 lo = _mm256_hadd_ps(ab, cd), hi = _mm256_hadd_ps(ef, gh);
    return _mm256_add_ps(_mm256_permute2f128_ps(lo, hi, 0x20), _mm256_permute2f128_ps(lo, hi, 0x31));
  }
};

}  // namespace hydrad::simd

#endif  // HYDRAD_KERNELS_SIMD_VEC_AVX2_H_
