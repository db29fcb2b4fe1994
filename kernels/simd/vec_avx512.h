// The vector of vec.h in one AVX-512 register (F, BW, DQ, VL).
#ifndef HYDRAD_KERNELS_SIMD_VEC_AVX512_H_
#define HYDRAD_KERNELS_SIMD_VEC_AVX512_H_

#include <immintrin.h>

#include "kernels/simd/vec.h"

namespace hydrad::simd {

// `Tag` keeps the types of two instruction sets that share these bodies apart.
template <class Tag>
struct VecAvx512 {
  using V = VecAvx512;
  __m512 v;

  HYDRAD_INLINE V Zero() { return {_mm512_setzero_ps()}; }
  HYDRAD_INLINE V Set1(float x) { return {_mm512_set1_ps(x)}; }
  HYDRAD_INLINE __mmask16 First(int n) { return static_cast<__mmask16>((1u << n) - 1); }
  HYDRAD_INLINE V Widen(__m256i x) {
    return {_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(x), 16))};
  }

  HYDRAD_INLINE V Load(const float* p) { return {_mm512_loadu_ps(p)}; }
  HYDRAD_INLINE V Load(const bf16* p) {
    return Widen(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  }
  HYDRAD_INLINE V LoadN(const float* p, int n) { return {_mm512_maskz_loadu_ps(First(n), p)}; }
  HYDRAD_INLINE V LoadN(const bf16* p, int n) { return Widen(_mm256_maskz_loadu_epi16(First(n), p)); }
  [[gnu::always_inline]] void Store(float* p) const { _mm512_storeu_ps(p, v); }
  [[gnu::always_inline]] void StoreN(float* p, int n) const { _mm512_mask_storeu_ps(p, First(n), v); }
  HYDRAD_INLINE void WidenPairs(const void* p, V& even, V& odd) {
    const __m512i raw = _mm512_loadu_si512(p);
    even.v = _mm512_castsi512_ps(_mm512_slli_epi32(raw, 16));
    odd.v = _mm512_castsi512_ps(_mm512_and_si512(raw, _mm512_set1_epi32(static_cast<int>(0xffff0000u))));
  }

  [[gnu::always_inline]] friend V operator+(V a, V b) { return {_mm512_add_ps(a.v, b.v)}; }
  [[gnu::always_inline]] friend V operator-(V a, V b) { return {_mm512_sub_ps(a.v, b.v)}; }
  [[gnu::always_inline]] friend V operator*(V a, V b) { return {_mm512_mul_ps(a.v, b.v)}; }
  [[gnu::always_inline]] friend V operator/(V a, V b) { return {_mm512_div_ps(a.v, b.v)}; }
  HYDRAD_INLINE V Fma(V a, V b, V c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
  HYDRAD_INLINE V Max(V a, V b) { return {_mm512_max_ps(a.v, b.v)}; }
  HYDRAD_INLINE V Min(V a, V b) { return {_mm512_min_ps(a.v, b.v)}; }
  HYDRAD_INLINE V Round(V a) {
    return {_mm512_roundscale_ps(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
  }
  HYDRAD_INLINE V Scale2(V a, V n) { return {_mm512_scalef_ps(a.v, n.v)}; }
  HYDRAD_INLINE V KeepIfNotBelow(V a, V x, V limit) {
    return {_mm512_maskz_mov_ps(_mm512_cmp_ps_mask(x.v, limit.v, _CMP_NLT_UQ), a.v)};
  }

  HYDRAD_INLINE float Sum(V a) {
    V v[kLanes] = {};
    v[0] = a;
    return _mm512_cvtss_f32(Sum16(v).v);
  }
  HYDRAD_INLINE float MaxLane(V a) { return _mm512_reduce_max_ps(a.v); }

  // Adds neighbours two apart, one apart, then 128-bit groups two apart, one apart.
  HYDRAD_INLINE V Sum16(const V (&v)[kLanes]) {
    __m512 quad[4];
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      const __m512 ab = Halve32(v[4 * i].v, v[4 * i + 1].v), cd = Halve32(v[4 * i + 2].v, v[4 * i + 3].v);
      const __m512d p = _mm512_castps_pd(ab), q = _mm512_castps_pd(cd);
      quad[i] = _mm512_add_ps(_mm512_castpd_ps(_mm512_unpacklo_pd(p, q)),
                              _mm512_castpd_ps(_mm512_unpackhi_pd(p, q)));
    }
    const __m512 lo = _mm512_add_ps(_mm512_shuffle_f32x4(quad[0], quad[1], 0x44),
                                    _mm512_shuffle_f32x4(quad[0], quad[1], 0xee));
    const __m512 hi = _mm512_add_ps(_mm512_shuffle_f32x4(quad[2], quad[3], 0x44),
                                    _mm512_shuffle_f32x4(quad[2], quad[3], 0xee));
    return {_mm512_add_ps(_mm512_shuffle_f32x4(lo, hi, 0x88), _mm512_shuffle_f32x4(lo, hi, 0xdd))};
  }

 private:
  // Per 128 bits: {a0 + a2, b0 + b2, a1 + a3, b1 + b3}.
  HYDRAD_INLINE __m512 Halve32(__m512 a, __m512 b) {
    return _mm512_add_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
  }
};

}  // namespace hydrad::simd

#endif  // HYDRAD_KERNELS_SIMD_VEC_AVX512_H_
