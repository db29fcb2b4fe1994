// Attention of up to 16 queries (rows x heads that share a kv head) in one scan of the cache: the online
// softmax of FlashAttention (arXiv 2205.14135) over stretches of 64 positions, aligned at multiples of 64.
//
// What a query sums, and in which order, is a function of its own position: scores are one chain of 16-lane
// FMAs over head_dim and a fixed tree; the stretch's maximum and sum are over 64 lanes, those beyond the
// position being -inf and 0; values are added position by position, up to its own. Queries only share the
// loads.
//
// For each stretch, with m the largest score so far, s the sum of weights and a the weighted values:
//   m' = max(m, scores);  w = exp(score - m');  s' = s exp(m - m') + sum w;  a' = a exp(m - m') + sum w v
// and at the end out = a / s.
#ifndef HYDRAD_KERNELS_SIMD_ATTEND_KERNEL_H_
#define HYDRAD_KERNELS_SIMD_ATTEND_KERNEL_H_

#include "kernels/simd/kernel_table.h"
#include "kernels/simd/vec.h"

namespace hydrad::simd {

// V is a vector type of vec.h, T the type of the cache: bf16 or float. q, out and all sums are f32. An object
// serves one call on one thread, allocates nothing and cannot fail; any number of threads may each have one.
// c.work [kAttendQueries, AttendWidth(head_dim)] has the values summed so far. Query i is row i / heads, head
// i % heads of the group that shares kv_head, and sees the positions 0 .. first_position + i / heads.
//
// K and V of the next stretch are asked for while the first queries of this one are computed.
template <class V, class T>
class AttendKernel {
 public:
  // Writes rows [rows, heads, head_dim] of c.out; reads nothing of the cache behind the last row's position.
  // REQUIRES: 1 <= rows * heads <= kAttendQueries; the table has a block for every position up to the last
  // row's.
  static void Run(const AttendCall<T>& c) {
    AttendKernel k(c);
    const int end = c.first_position + c.rows;  // one past the last position any query reads
    k.Locate(0, end);
    for (int i = 0; i < MinInt(kStretch, end); ++i) k.PrefetchRow(c.kv.v + k.next_[i]);
    for (int begin = 0; begin < end; begin += kStretch) {
      for (int i = 0; i < kStretch; ++i) k.at_[i] = k.next_[i];
      k.Locate(begin + kStretch, end);
      k.Scores(MinInt(kStretch, end - begin));
      k.Weights(begin);
      k.Values(begin);
    }
    k.Finish();
  }

 private:
  static constexpr int kStretch = 64;
  static constexpr int kVectors = kStretch / kLanes;
  static constexpr int kSide = 4;  // queries computed side by side
  static constexpr float kLowest = -__builtin_inff();

  explicit AttendKernel(const AttendCall<T>& c)
      : c_(c), dim_(c.kv.head_dim), width_(AttendWidth(dim_)), queries_(c.rows * c.heads) {
    for (int i = 0; i < kAttendQueries; ++i) {
      const int query = MinInt(i, queries_ - 1);
      q_[i] = c.q + query / c.heads * c.q_stride + query % c.heads * dim_;
      max_[i] = kLowest;
      sum_[i] = 0;
    }
    for (int i = 0; i < queries_ * width_; ++i) c.work[i] = 0;
  }

  // Sets next_ to where the positions from `begin` lie. Past `end` stands the last one again, so that what is
  // read there is read anyway.
  void Locate(int begin, int end) {
    if (begin >= end) return;
    const KvLayer<T>& kv = c_.kv;
    int block = begin / kv.block_size, offset = begin % kv.block_size;
    for (int i = 0; i < kStretch; ++i) {
      if (begin + i >= end) {
        next_[i] = next_[i - 1];
        continue;
      }
      next_[i] = ((int64_t{c_.table[block]} * kv.kv_heads + c_.kv_head) * kv.block_size + offset) * dim_;
      if (++offset == kv.block_size) ++block, offset = 0;
    }
  }

  // Returns how many positions query `i` sees of the stretch at `begin`; 0 or less if its own lies before.
  int Seen(int i, int begin) const { return MinInt(kStretch, c_.first_position + i / c_.heads + 1 - begin); }

  // Fills score_ [queries][positions] for the stretch's first `count` positions, rounded up to whole P.
  // Beyond `count` stand copies of the last; Weights takes them out.
  void Scores(int count) {
    for (int i = 0; i < queries_; i += kSide) {
      const int side = MinInt(kSide, queries_ - i);
      if (side == 1) {
        ScoresOf<1>(i, count);
      } else if (side == 2) {
        ScoresOf<2>(i, count);
      } else if (side == 3) {
        ScoresOf<3>(i, count);
      } else {
        ScoresOf<4>(i, count);
      }
    }
  }

  template <int Q>
  void ScoresOf(int i, int count) {
    constexpr int P = Beside(Q);
    const V scale = V::Set1(c_.scale);
    for (int p = 0; p < count; p += P) {
      alignas(64) float s[kLanes];
      (Dots<Q, P>(i, p) * scale).Store(s);
#pragma GCC unroll 4
      for (int a = 0; a < Q; ++a) __builtin_memcpy(score_[i + a] + p, s + a * P, P * sizeof(float));
    }
  }

  // Positions taken at once with Q queries: a power of two, so that they divide a stretch.
  static constexpr int Beside(int q) { return q == 1 ? 16 : q == 2 ? 8 : 4; }

  // Returns Q * P dot products: lane a * P + b is query i + a with the key of position p + b.
  template <int Q, int P>
  [[gnu::always_inline]] V Dots(int i, int p) const {
    V acc[kLanes];
#pragma GCC unroll 16
    for (int j = 0; j < kLanes; ++j) acc[j] = V::Zero();
    int d = 0;
    for (; d + kLanes <= dim_; d += kLanes) DotStep<Q, P>(acc, i, p, d, kLanes);
    if (d < dim_) DotStep<Q, P>(acc, i, p, d, dim_ - d);
    for (int b = 0; i == 0 && b < P; ++b) PrefetchRow(c_.kv.k + next_[p + b]);
    return V::Sum16(acc);
  }

  // Adds the products of `n` elements from `d` on. n is kLanes but for the last elements of a head.
  template <int Q, int P>
  [[gnu::always_inline]] void DotStep(V (&acc)[kLanes], int i, int p, int d, int n) const {
    V q[Q];
#pragma GCC unroll 4
    for (int a = 0; a < Q; ++a) q[a] = n == kLanes ? V::Load(q_[i + a] + d) : V::LoadN(q_[i + a] + d, n);
#pragma GCC unroll 16
    for (int b = 0; b < P; ++b) {
      const T* at = c_.kv.k + at_[p + b] + d;
      const V k = n == kLanes ? V::Load(at) : V::LoadN(at, n);
#pragma GCC unroll 4
      for (int a = 0; a < Q; ++a) acc[a * P + b] = V::Fma(k, q[a], acc[a * P + b]);
    }
  }

  [[gnu::always_inline]] void PrefetchRow(const T* row) const {
    for (int d = 0; d < dim_; d += 64 / sizeof(T)) Prefetch(row + d);
  }

  // Turns scores into weights exp(score - running maximum), and scales what was summed so far to the new
  // maximum. Positions that a query does not see weigh exp(-inf) = 0.
  void Weights(int begin) {
    for (int i = 0; i < queries_; ++i) {
      const int seen = Seen(i, begin);
      if (seen <= 0) continue;
      for (int p = seen; p < kStretch; ++p) score_[i][p] = kLowest;
      V s[kVectors], top = V::Load(score_[i]);
      for (int j = 0; j < kVectors; ++j) top = V::Max(s[j] = V::Load(score_[i] + j * kLanes), top);
      const float before = max_[i], now = V::MaxLane(top);
      max_[i] = now > before ? now : before;
      if (max_[i] > before) Rescale(i, before);
      for (int j = 0; j < kVectors; ++j) (s[j] = Exp(s[j] - V::Set1(max_[i]))).Store(score_[i] + j * kLanes);
      sum_[i] += V::Sum((s[0] + s[1]) + (s[2] + s[3]));
    }
  }

  // Multiplies the sum and the values of query `i` by exp(before - maximum). Before the first stretch that is
  // exp(-inf) = 0, and they are 0.
  void Rescale(int i, float before) {
    float t[kLanes];
    Exp(V::Set1(before) - V::Set1(max_[i])).Store(t);
    sum_[i] *= t[0];
    float* acc = c_.work + i * width_;
    for (int d = 0; d < width_; d += kLanes) (V::Load(acc + d) * V::Set1(t[0])).Store(acc + d);
  }

  // Adds the weighed values of the stretch at `begin`, of every query up to its own position.
  void Values(int begin) {
    for (int i = 0; i < queries_; i += kSide) {
      const int side = MinInt(kSide, queries_ - i);
      const int shared =
          MaxInt(0, Seen(i, begin));  // what a query sees grows with its index: the first sees least
      if (side == 4) ValuesOf<4>(i, 0, shared);
      if (side == 3) ValuesOf<3>(i, 0, shared);
      if (side == 2) ValuesOf<2>(i, 0, shared);
      if (side == 1) ValuesOf<1>(i, 0, shared);
      for (int a = i + 1; a < i + side; ++a) ValuesOf<1>(a, shared, Seen(a, begin));
    }
  }

  // Adds the positions [from, to) of the stretch to the values of Q queries from `i` on, all of which see
  // them.
  template <int Q>
  void ValuesOf(int i, int from, int to) {
    if (from >= to) return;
    int d = 0;
    for (; d + 4 * kLanes <= dim_; d += 4 * kLanes) ValueBlock<Q, 4>(i, from, to, d, kLanes);
    for (; d < dim_; d += kLanes) ValueBlock<Q, 1>(i, from, to, d, MinInt(kLanes, dim_ - d));
  }

  template <int Q, int W>
  void ValueBlock(int i, int from, int to, int d, int n) {
    V acc[Q][W];
    float* work = c_.work + i * width_ + d;
#pragma GCC unroll 4
    for (int a = 0; a < Q; ++a) {
#pragma GCC unroll 4
      for (int b = 0; b < W; ++b) acc[a][b] = V::Load(work + a * width_ + b * kLanes);
    }
    for (int p = from; p < to; ++p) {
      const T* at = c_.kv.v + at_[p] + d;
      if (i == 0) Prefetch(c_.kv.v + next_[p] + d), Prefetch(c_.kv.v + next_[p] + d + W * kLanes - 1);
#pragma GCC unroll 4
      for (int b = 0; b < W; ++b) {
        const V v = n == kLanes ? V::Load(at + b * kLanes) : V::LoadN(at + b * kLanes, n);
#pragma GCC unroll 4
        for (int a = 0; a < Q; ++a) acc[a][b] = V::Fma(v, V::Set1(score_[i + a][p]), acc[a][b]);
      }
    }
#pragma GCC unroll 4
    for (int a = 0; a < Q; ++a) {
#pragma GCC unroll 4
      for (int b = 0; b < W; ++b) acc[a][b].Store(work + a * width_ + b * kLanes);
    }
  }

  // Writes values / sum of weights to c.out.
  void Finish() {
    for (int i = 0; i < queries_; ++i) {
      float* out = c_.out + i / c_.heads * c_.out_stride + i % c_.heads * dim_;
      const V total = V::Set1(sum_[i]);
      for (int d = 0; d < dim_; d += kLanes) {
        (V::Load(c_.work + i * width_ + d) / total).StoreN(out + d, MinInt(kLanes, dim_ - d));
      }
    }
  }

  const AttendCall<T>& c_;
  const int dim_, width_, queries_;
  const float* q_[kAttendQueries];
  float max_[kAttendQueries], sum_[kAttendQueries];
  // Elements from kv.k, and from kv.v, to the rows of this stretch and to those of the next.
  int64_t at_[kStretch], next_[kStretch];
  alignas(64) float score_[kAttendQueries][kStretch];  // weights once Weights has run
};

}  // namespace hydrad::simd

#endif  // HYDRAD_KERNELS_SIMD_ATTEND_KERNEL_H_
