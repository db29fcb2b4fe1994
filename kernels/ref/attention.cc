// The truth of kernels/attention.h: softmax in two scans of all positions of a row, sums in double.
#include "kernels/attention.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace hydrad::ref {
namespace {

template <class T>
int64_t RowOf(const KvLayer<T>& kv, int64_t block, int head, int offset) {
  return ((block * kv.kv_heads + head) * kv.block_size + offset) * kv.head_dim;
}

void Store(float& to, float x) { to = x; }
void Store(bf16& to, float x) { to = ToBf16(x); }

template <class T>
void AttendHead(float* out, const float* q, const KvLayer<T>& kv, int kv_head, const int32_t* table,
                int count, float scale) {
  std::vector<double> p(count);
  double max = -INFINITY, sum = 0;
  for (int t = 0; t < count; ++t) {
    const T* k = kv.k + RowOf(kv, table[t / kv.block_size], kv_head, t % kv.block_size);
    for (int d = 0; d < kv.head_dim; ++d) p[t] += double{q[d]} * ToFloat(k[d]);
    max = std::max(max, p[t] *= scale);
  }
  for (double& x : p) sum += x = std::exp(x - max);
  std::vector<double> acc(kv.head_dim, 0.0);
  for (int t = 0; t < count; ++t) {
    const T* v = kv.v + RowOf(kv, table[t / kv.block_size], kv_head, t % kv.block_size);
    for (int d = 0; d < kv.head_dim; ++d) acc[d] += p[t] / sum * ToFloat(v[d]);
  }
  for (int d = 0; d < kv.head_dim; ++d) out[d] = static_cast<float>(acc[d]);
}

}  // namespace

template <class T>
void WriteKv(KvLayer<T> kv, Mat<const float> k, Mat<const float> v, std::span<const int32_t> slots) {
  for (size_t r = 0; r < slots.size(); ++r) {
    for (int h = 0; h < kv.kv_heads; ++h) {
      const int64_t to = RowOf(kv, slots[r] / kv.block_size, h, slots[r] % kv.block_size);
      for (int d = 0; d < kv.head_dim; ++d) {
        Store(kv.k[to + d], k.row(r)[h * kv.head_dim + d]);
        Store(kv.v[to + d], v.row(r)[h * kv.head_dim + d]);
      }
    }
  }
}

template <class T>
void Attend(Mat<float> out, Mat<const float> q, KvLayer<T> kv, std::span<const AttentionSegment> segments,
            float scale) {
  const int heads = q.cols / kv.head_dim, group = heads / kv.kv_heads;
  for (const AttentionSegment& s : segments) {
    for (int r = s.row_begin; r < s.row_end; ++r) {
      const int count = s.first_position + (r - s.row_begin) + 1;
      for (int h = 0; h < heads; ++h) {
        const int at = h * kv.head_dim;
        AttendHead(out.row(r) + at, q.row(r) + at, kv, h / group, s.table, count, scale);
      }
    }
  }
}

template void WriteKv<bf16>(KvLayer<bf16>, Mat<const float>, Mat<const float>, std::span<const int32_t>);
template void WriteKv<float>(KvLayer<float>, Mat<const float>, Mat<const float>, std::span<const int32_t>);
template void Attend<bf16>(Mat<float>, Mat<const float>, KvLayer<bf16>, std::span<const AttentionSegment>,
                           float);
template void Attend<float>(Mat<float>, Mat<const float>, KvLayer<float>, std::span<const AttentionSegment>,
                            float);

}  // namespace hydrad::ref
