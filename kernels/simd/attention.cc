// Cuts the batch into units of up to 16 queries that share a kv head: row tiles of each segment.
#include "kernels/attention.h"

#include <algorithm>
#include <vector>

#include "kernels/simd/by_isa.h"
#include "kernels/simd/kernel_table.h"
#include "kernels/simd/pool.h"

namespace hydrad::simd {
namespace {

void (*Attender(const Table& t, bf16))(const AttendCall<bf16>&) { return t.attend_bf16; }
void (*Attender(const Table& t, float))(const AttendCall<float>&) { return t.attend_f32; }
void Store(float& to, float x) { to = x; }
void Store(bf16& to, float x) { to = ToBf16(x); }

// Working memory of a thread: grows to the largest head_dim it meets.
float* Work(int head_dim) {
  thread_local std::vector<float> work;
  const size_t need = size_t{kAttendQueries} * AttendWidth(head_dim);
  if (work.size() < need) work.resize(need);
  return work.data();
}

// How the query heads of a kv head and the rows of a segment are grouped.
struct Cut {
  int group;        // query heads of a kv head
  int heads;        // of them in a unit
  int head_splits;  // units that share out `group`
  int rows;         // rows in a unit

  explicit Cut(int group_) : group(group_) {
    head_splits = (group + kAttendQueries - 1) / kAttendQueries;
    heads = (group + head_splits - 1) / head_splits;
    rows = std::max(1, kAttendQueries / heads);
  }
  int Tiles(const AttentionSegment& s) const { return (s.row_end - s.row_begin + rows - 1) / rows; }
};

}  // namespace

template <class T>
void Attend(Isa isa, Pool& pool, Mat<float> out, Mat<const float> q, KvLayer<T> kv,
            std::span<const AttentionSegment> segments, float scale) {
  const Cut cut(q.cols / kv.head_dim / kv.kv_heads);
  thread_local std::vector<int>
      first_kept;  // of each segment, its first unit; kept to spare an allocation a layer
  std::vector<int>& first = first_kept;
  first.assign(1, 0);
  const int per_tile = kv.kv_heads * cut.head_splits;
  for (const AttentionSegment& s : segments) first.push_back(first.back() + cut.Tiles(s) * per_tile);
  const auto attend = Attender(TableFor(isa), T{});

  pool.Run(first.back(), [&](int unit) {
    const size_t i = std::upper_bound(first.begin(), first.end(), unit) - first.begin() - 1;
    const AttentionSegment& s = segments[i];
    const int tile = (unit - first[i]) / per_tile, part = (unit - first[i]) % per_tile;
    const int kv_head = part / cut.head_splits, head_begin = part % cut.head_splits * cut.heads;
    const int row = s.row_begin + tile * cut.rows;
    const int64_t at = int64_t{kv_head * cut.group + head_begin} * kv.head_dim;
    AttendCall<T> call{};
    call.kv = kv;
    call.table = s.table;
    call.kv_head = kv_head;
    call.heads = std::min(cut.heads, cut.group - head_begin);
    call.rows = std::min(cut.rows, s.row_end - row);
    call.first_position = s.first_position + tile * cut.rows;
    call.q = q.row(row) + at;
    call.out = out.row(row) + at;
    call.q_stride = q.stride;
    call.out_stride = out.stride;
    call.scale = scale;
    call.work = Work(kv.head_dim);
    if (call.heads > 0) attend(call);
  });
}

template <class T>
void Attend(Pool& pool, Mat<float> out, Mat<const float> q, KvLayer<T> kv,
            std::span<const AttentionSegment> segments, float scale) {
  Attend(ActiveIsa(), pool, out, q, kv, segments, scale);
}

template <class T>
void WriteKv(Pool& pool, KvLayer<T> kv, Mat<const float> k, Mat<const float> v,
             std::span<const int32_t> slots) {
  constexpr int kRows = 16;
  const int rows = static_cast<int>(slots.size());
  pool.Run((rows + kRows - 1) / kRows, [&](int i) {
    for (int r = i * kRows; r < std::min(rows, (i + 1) * kRows); ++r) {
      for (int h = 0; h < kv.kv_heads; ++h) {
        const int64_t block = slots[r] / kv.block_size, offset = slots[r] % kv.block_size;
        const int64_t to = ((block * kv.kv_heads + h) * kv.block_size + offset) * kv.head_dim;
        const float *kr = k.row(r) + h * kv.head_dim, *vr = v.row(r) + h * kv.head_dim;
        for (int d = 0; d < kv.head_dim; ++d) Store(kv.k[to + d], kr[d]);
        for (int d = 0; d < kv.head_dim; ++d) Store(kv.v[to + d], vr[d]);
      }
    }
  });
}

#define HYDRAD_ATTENTION_OF(T)                                                                               \
  template void WriteKv<T>(Pool&, KvLayer<T>, Mat<const float>, Mat<const float>, std::span<const int32_t>); \
  template void Attend<T>(Pool&, Mat<float>, Mat<const float>, KvLayer<T>,                                   \
                          std::span<const AttentionSegment>, float);                                         \
  template void Attend<T>(Isa, Pool&, Mat<float>, Mat<const float>, KvLayer<T>,                              \
                          std::span<const AttentionSegment>, float);
HYDRAD_ATTENTION_OF(bf16)
HYDRAD_ATTENTION_OF(float)
#undef HYDRAD_ATTENTION_OF

}  // namespace hydrad::simd
