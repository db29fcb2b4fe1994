// One row of each operation of kernels/elementwise.h, and the two scans of logits (row_scan.h), over a vector
// type of vec.h. All are in f32 and, but for sums, lane by lane: an element's result depends on its own
// inputs, not on its place in a vector. Rows may begin at any address and have any length; nothing behind
// them is touched.
#ifndef HYDRAD_KERNELS_SIMD_ELEMENTWISE_KERNEL_H_
#define HYDRAD_KERNELS_SIMD_ELEMENTWISE_KERNEL_H_

#include "kernels/simd/vec.h"

namespace hydrad::simd {

// Calls f(i, n) for the vectors of [0, count): n lanes starting at i, n < 16 only at the end.
template <class V, class F>
[[gnu::always_inline]] inline void ForVectors(int64_t count, const F& f) {
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) f(i, kLanes);
  if (i < count) f(i, static_cast<int>(count - i));
}

// Load and Store of the first n lanes, the fast way where that is all of them.
template <class V>
[[gnu::always_inline]] inline V LoadUpTo(const float* p, int n) {
  return n == kLanes ? V::Load(p) : V::LoadN(p, n);
}
template <class V>
[[gnu::always_inline]] inline void StoreUpTo(float* p, V v, int n) {
  n == kLanes ? v.Store(p) : v.StoreN(p, n);
}

// y = x / sqrt(mean(x^2) + eps) * weight, all [width]; y may be x. The squares are summed in four chains of
// vectors, i mod 4, joined as (0 + 1) + (2 + 3).
template <class V>
void RmsNormRow(float* y, const float* x, const float* weight, int width, float eps) {
  V sum[4] = {V::Zero(), V::Zero(), V::Zero(), V::Zero()};
  int i = 0;
  for (; i + 4 * kLanes <= width; i += 4 * kLanes) {
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) {
      const V v = V::Load(x + i + j * kLanes);
      sum[j] = V::Fma(v, v, sum[j]);
    }
  }
  for (int j = 0; i < width; i += kLanes, ++j) {
    const V v = V::LoadN(x + i, MinInt(kLanes, width - i));
    sum[j] = V::Fma(v, v, sum[j]);
  }
  const float mean = V::Sum((sum[0] + sum[1]) + (sum[2] + sum[3])) / static_cast<float>(width);
  const V factor = V::Set1(1.f / __builtin_sqrtf(mean + eps));
  ForVectors<V>(width, [&](int64_t at, int n) {
    StoreUpTo<V>(y + at, LoadUpTo<V>(x + at, n) * factor * LoadUpTo<V>(weight + at, n), n);
  });
}

// Turns one head x [head_dim] in place. cos_sin is [head_dim]: the cosines, then the sines. REQUIRES:
// head_dim is even.
template <class V>
void RopeHead(float* x, int head_dim, const float* cos_sin) {
  const int half = head_dim / 2;
  ForVectors<V>(half, [&](int64_t i, int n) {
    const V c = LoadUpTo<V>(cos_sin + i, n), s = LoadUpTo<V>(cos_sin + half + i, n);
    const V lo = LoadUpTo<V>(x + i, n), hi = LoadUpTo<V>(x + half + i, n);
    StoreUpTo<V>(x + i, lo * c - hi * s, n);
    StoreUpTo<V>(x + half + i, V::Fma(hi, c, lo * s), n);
  });
}

// y = gate / (1 + exp(-gate)) * up, all [count].
template <class V>
void SiluMulRow(float* y, const float* gate, const float* up, int count) {
  const V one = V::Set1(1);
  ForVectors<V>(count, [&](int64_t i, int n) {
    const V g = LoadUpTo<V>(gate + i, n);
    StoreUpTo<V>(y + i, g / (one + Exp(V::Zero() - g)) * LoadUpTo<V>(up + i, n), n);
  });
}

// y += x, both [count].
template <class V>
void AddRow(float* y, const float* x, int count) {
  ForVectors<V>(count, [&](int64_t i, int n) {
    StoreUpTo<V>(y + i, LoadUpTo<V>(y + i, n) + LoadUpTo<V>(x + i, n), n);
  });
}

// Returns the largest of x [count], a NaN if there is one. A vector that is not below +inf somewhere holds
// +inf or a NaN; only then is it worth looking which.
template <class V>
float MaxOrNanRow(const float* x, int64_t count) {
  float top = -__builtin_inff();
  if (count >= kLanes) {
    V max = V::Set1(top), odd = V::Zero();
    for (int64_t i = 0; i < count; i += kLanes) {
      const V v = V::Load(x + (i + kLanes <= count ? i : count - kLanes));  // the last two may overlap
      max = V::Max(v, max);
      odd = odd + V::KeepIfNotBelow(V::Set1(1), v, V::Set1(__builtin_inff()));
    }
    if (V::Sum(odd) == 0) return V::MaxLane(max);
  }
  for (int64_t i = 0; i < count; ++i) {
    if (x[i] != x[i]) return x[i];
    top = x[i] > top ? x[i] : top;
  }
  return top;
}

// weight = exp((x - max) / temperature), both [count], and returns their sum: blocks of 16 vectors in floats,
// the blocks in double.
template <class V>
double ExpSumRow(const float* x, float max, float temperature, float* weight, int64_t count) {
  const V m = V::Set1(max), t = V::Set1(temperature);
  double total = 0;
  for (int64_t begin = 0; begin < count; begin += 16 * kLanes) {
    const int64_t block = count - begin < 16 * kLanes ? count - begin : 16 * kLanes;
    V sum = V::Zero();
    ForVectors<V>(block, [&](int64_t i, int n) {
      StoreUpTo<V>(weight + begin + i, Exp((LoadUpTo<V>(x + begin + i, n) - m) / t), n);
      sum = sum + LoadUpTo<V>(weight + begin + i, n);
    });
    total += V::Sum(sum);
  }
  return total;
}

}  // namespace hydrad::simd

#endif  // HYDRAD_KERNELS_SIMD_ELEMENTWISE_KERNEL_H_
