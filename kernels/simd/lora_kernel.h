// The two inner loops of the low-rank change. A dot product is one chain of 16-lane FMAs over `in`,
// ascending, then the fixed tree of V::Sum16; a column of the expansion is one chain over the rank, then one
// addition to y. So neither depends on how many rows or dots are computed side by side.
//
// The kernels are what kernel_table.h's Table points to, for a vector type V of vec.h and weights of type T
// (bf16 or float); x, u, z and y are f32. They allocate nothing and cannot fail. Any number of threads may
// call at once, as long as no two write the same elements of u or y.
#ifndef HYDRAD_KERNELS_SIMD_LORA_KERNEL_H_
#define HYDRAD_KERNELS_SIMD_LORA_KERNEL_H_

#include "kernels/simd/kernel_table.h"
#include "kernels/simd/vec.h"

namespace hydrad::simd {

// Computes a DotsCall. A register block has kRows rows by kDots dots, each an accumulator of its own, so
// kRows * kDots <= kLanes; rows and dots that are left over are taken in smaller blocks.
template <class V, class T, int kRows, int kDots>
class DotsKernel {
 public:
  static void Run(const DotsCall<T>& c) {
    int r = 0;
    for (; r + kRows <= c.rows.count; r += kRows) Row<kRows, kDots>(c, r);
    for (; r < c.rows.count; ++r) Row<1, 8>(c, r);
  }

 private:
  template <int R, int D>
  static void Row(const DotsCall<T>& c, int r) {
    int i = 0;
    for (; i + D <= c.count; i += D) Block<R, D>(c, r, i);
    if constexpr (D > 4) {
      if (i + 4 <= c.count) Block<R, 4>(c, r, i), i += 4;
    }
    for (; i < c.count; ++i) Block<R, 1>(c, r, i);
  }

  // The dots i .. i + D - 1 of the rows r .. r + R - 1. The first rows ask for the rows of D that come next.
  template <int R, int D>
  [[gnu::noinline]] static void Block(const DotsCall<T>& c, int r, int i) {
    const T* d = c.d + int64_t{i} * c.in;
    const T* next = c.next && r == 0 ? c.next + int64_t{i} * c.in : nullptr;
    const float* x[R];
    for (int a = 0; a < R; ++a) x[a] = c.x.data + c.rows[r + a] * c.x.stride;
    V acc[kLanes];
#pragma GCC unroll 16
    for (int j = 0; j < kLanes; ++j) acc[j] = V::Zero();
    int k = 0;
    for (; k + kLanes <= c.in; k += kLanes) {
      Step<R, D>(acc, d + k, c.in, x, k, kLanes);
      if (next && k % kLine == 0) {
#pragma GCC unroll 8
        for (int j = 0; j < D; ++j) Prefetch(next + int64_t{j} * c.in + k);
      }
    }
    if (k < c.in) Step<R, D>(acc, d + k, c.in, x, k, c.in - k);
    float sum[kLanes];
    V::Sum16(acc).Store(sum);
    for (int a = 0; a < R; ++a) {
      for (int b = 0; b < D; ++b) c.u[c.rows[r + a] * c.u_stride + i + b] = sum[a * D + b];
    }
  }
  static constexpr int kLine = 64 / sizeof(T);

  template <int R, int D>
  [[gnu::always_inline]] static void Step(V (&acc)[kLanes], const T* d, int64_t in,
                                          const float* const (&x)[R], int k, int n) {
    V row[R];
#pragma GCC unroll 8
    for (int a = 0; a < R; ++a) row[a] = n == kLanes ? V::Load(x[a] + k) : V::LoadN(x[a] + k, n);
#pragma GCC unroll 8
    for (int b = 0; b < D; ++b) {
      const V w = n == kLanes ? V::Load(d + b * in) : V::LoadN(d + b * in, n);
#pragma GCC unroll 8
      for (int a = 0; a < R; ++a) acc[a * D + b] = V::Fma(w, row[a], acc[a * D + b]);
    }
  }
};

// Computes an ExpandCall. A register block has kRows rows by kWide vectors of 16 columns; rows and columns
// that are left over are taken one row, and one vector, at a time. The last columns of y may be fewer than
// 16: nothing behind them is read or written.
template <class V, class T, int kRows, int kWide>
class ExpandKernel {
 public:
  static void Run(const ExpandCall<T>& c) {
    int r = 0;
    for (; r + kRows <= c.rows.count; r += kRows) Row<kRows>(c, r);
    for (; r < c.rows.count; ++r) Row<1>(c, r);
  }

 private:
  template <int R>
  static void Row(const ExpandCall<T>& c, int r) {
    int col = 0;
    for (; col + kWide * kLanes <= c.y.cols; col += kWide * kLanes) Block<R, kWide>(c, r, col, kLanes);
    for (; col < c.y.cols; col += kLanes) Block<R, 1>(c, r, col, MinInt(kLanes, c.y.cols - col));
  }

  template <int R, int W>
  [[gnu::noinline]] static void Block(const ExpandCall<T>& c, int r, int col, int last) {
    const float* z[R];
    for (int a = 0; a < R; ++a) z[a] = c.z + c.rows[r + a] * c.z_stride;
    const T* up = c.up + col;
    const T* next = c.next && r == 0 ? c.next + col : nullptr;
    V acc[R][W];
#pragma GCC unroll 8
    for (int a = 0; a < R; ++a) {
#pragma GCC unroll 8
      for (int b = 0; b < W; ++b) acc[a][b] = V::Zero();
    }
    for (int j = 0; j < c.count; ++j, up += c.up_stride) {
      if (next) {
        for (int b = 0; b < W * kLanes; b += 64 / sizeof(T)) Prefetch(next + b);
        next += c.up_stride;
      }
#pragma GCC unroll 8
      for (int b = 0; b < W; ++b) {
        const V w = last == kLanes ? V::Load(up + b * kLanes) : V::LoadN(up + b * kLanes, last);
#pragma GCC unroll 8
        for (int a = 0; a < R; ++a) acc[a][b] = V::Fma(w, V::Set1(z[a][j]), acc[a][b]);
      }
    }
#pragma GCC unroll 8
    for (int a = 0; a < R; ++a) {
#pragma GCC unroll 8
      for (int b = 0; b < W; ++b)
        AddTo(c.y.data + c.rows[r + a] * c.y.stride + col + b * kLanes, acc[a][b], last);
    }
  }

  // Adds the first `n` lanes.
  [[gnu::always_inline]] static void AddTo(float* y, V change, int n) {
    if (n == kLanes) {
      (V::Load(y) + change).Store(y);
    } else {
      (V::LoadN(y, n) + change).StoreN(y, n);
    }
  }
};

// Makes x [n] its softmax in place, in f32: the maximum, the exponentials, their sum in one chain of 16-lane
// additions, the quotients. REQUIRES: n >= 1.
template <class V>
void Softmax(float* x, int n) {
  float max = x[0];
  for (int i = 1; i < n; ++i) max = x[i] > max ? x[i] : max;
  V sum = V::Zero();
  for (int i = 0; i < n; i += kLanes) {
    const int count = MinInt(kLanes, n - i);
    Exp(V::LoadN(x + i, count) - V::Set1(max)).StoreN(x + i, count);
    sum = sum + V::LoadN(x + i, count);
  }
  const V total = V::Set1(V::Sum(sum));
  for (int i = 0; i < n; i += kLanes) {
    const int count = MinInt(kLanes, n - i);
    (V::LoadN(x + i, count) / total).StoreN(x + i, count);
  }
}

}  // namespace hydrad::simd

#endif  // HYDRAD_KERNELS_SIMD_LORA_KERNEL_H_
