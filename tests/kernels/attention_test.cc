#include "kernels/attention.h"

#include "kernels/simd/by_isa.h"
#include "kernels/simd/pool.h"
#include "tests/kernels/cases.h"

namespace hydrad {
namespace {

using simd::Isa;
using simd::Pool;

// A cache of `blocks` blocks, full of NaN but for what is written, and scattered block tables.
template <class T>
class Cache {
 public:
  Cache(int blocks, int block_size, int kv_heads, int head_dim)
      : k_(1, blocks * block_size * kv_heads * head_dim), v_(k_) {
    k_.Fill(NAN);
    v_.Fill(NAN);
    kv_ = {k_.view().data, v_.view().data, block_size, kv_heads, head_dim};
    for (int b = blocks; b-- > 0;) free_.push_back((b * 7 + 3) % blocks);
  }
  // A table long enough for `positions`, of blocks nobody else has.
  std::vector<int32_t> Take(int positions) {
    std::vector<int32_t> table;
    for (int p = 0; p < positions; p += kv_.block_size) table.push_back(free_.back()), free_.pop_back();
    return table;
  }
  std::vector<int32_t> Slots(const std::vector<int32_t>& table, int begin, int count) const {
    std::vector<int32_t> slots;
    for (int p = begin; p < begin + count; ++p) {
      slots.push_back(table[p / kv_.block_size] * kv_.block_size + p % kv_.block_size);
    }
    return slots;
  }
  const KvLayer<T>& layer() const { return kv_; }

 private:
  Matrix<T> k_, v_;
  KvLayer<T> kv_;
  std::vector<int32_t> free_;
};

struct Shape {
  int heads, kv_heads, head_dim, block_size;
};
const Shape kShapes[] = {{9, 3, 64, 16}, {1, 1, 16, 1}, {4, 4, 32, 7},   {6, 2, 80, 16}, {8, 1, 128, 32},
                         {2, 2, 24, 5},  {3, 1, 1, 16}, {40, 2, 48, 16}, {5, 1, 33, 3},  {2, 1, 256, 16}};

// Softmax moves a weight by at most twice the error of a score, plus its own rounding; the values add a
// chain.
double Bound(const Shape& s, int count, double score_size, double value_size) {
  const double score = (s.head_dim / 16 + 8) * kUnit * score_size;
  return (std::expm1(2 * score) + (count + 40) * kUnit) * value_size;
}

class AttentionTest : public testing::TestWithParam<Isa> {};

// The sum |q k| scale of the worst position, and the largest |v|, over a whole case.
double Largest(Mat<const float> m) {
  double top = 0;
  for (int r = 0; r < m.rows; ++r) {
    for (int c = 0; c < m.cols; ++c) top = std::max(top, double{std::fabs(m.row(r)[c])});
  }
  return top;
}

template <class T>
void MatchesReference(Isa isa) {
  Pool pool(3);
  for (const Shape& s : kShapes) {
    Cache<T> cache(400, s.block_size, s.kv_heads, s.head_dim);
    const float scale = 1 / std::sqrt(static_cast<float>(s.head_dim));
    const std::pair<int, int> lengths[] = {{0, 1},  {63, 1}, {64, 1},
                                           {0, 21}, {5, 66}, {130, 3}};  // first, rows
    std::vector<AttentionSegment> segments;
    std::vector<std::vector<int32_t>> tables;
    int rows = 0, longest = 0;
    double keys = 0, values = 0;
    for (const auto& [first, count] : lengths) {
      tables.push_back(cache.Take(first + count));
      const int width = s.kv_heads * s.head_dim;
      const auto k = Matrix<float>::Random(first + count, width, rows + 1, 1, 4);
      const auto v = Matrix<float>::Random(first + count, width, rows + 2, 1, 4);
      simd::WriteKv(pool, cache.layer(), k.view(), v.view(), cache.Slots(tables.back(), 0, first + count));
      keys = std::max(keys, Largest(k.view())), values = std::max(values, Largest(v.view()));
      segments.push_back({rows, rows + count, first, nullptr});
      rows += count;
      longest = std::max(longest, first + count);
    }
    for (size_t i = 0; i < segments.size(); ++i) segments[i].table = tables[i].data();
    const auto q = Matrix<float>::Random(rows, s.heads * s.head_dim, 9, 1, 5);
    Matrix<float> got(rows, s.heads * s.head_dim, 1), want(rows, s.heads * s.head_dim);
    simd::Attend(isa, pool, got.view(), q.view(), cache.layer(), segments, scale);
    ref::Attend(want.view(), q.view(), cache.layer(), segments, scale);
    const double size = Largest(q.view()) * keys * s.head_dim * scale;
    ExpectWithin(
        got.view(), want.view(), [&](int, int) { return Bound(s, longest, size, values); },
        "head_dim " + std::to_string(s.head_dim) + " heads " + std::to_string(s.heads));
  }
}
TEST_P(AttentionTest, Bf16MatchesReference) { MatchesReference<bf16>(GetParam()); }
TEST_P(AttentionTest, F32MatchesReference) { MatchesReference<float>(GetParam()); }

// A prompt of 150 positions, in any chunks, next to a neighbour or not, on any number of threads. Only the
// chunk's own positions and those before it are in the cache when it runs; the rest is NaN.
template <class T>
void ChunksAreTheWhole(Isa isa) {
  constexpr int kLength = 150;
  for (const Shape& s : kShapes) {
    const int width = s.heads * s.head_dim, kv_width = s.kv_heads * s.head_dim;
    const auto q = Matrix<float>::Random(kLength, width, 1);
    const auto k = Matrix<float>::Random(kLength, kv_width, 2),
               v = Matrix<float>::Random(kLength, kv_width, 3);
    std::vector<Matrix<float>> results;
    for (const std::vector<int>& chunks : std::vector<std::vector<int>>{
             {150}, std::vector<int>(150, 1), {1, 7, 56, 2, 64, 20}, {64, 64, 22}, {149, 1}}) {
      Pool pool(1 + static_cast<int>(results.size()) % 4);
      Cache<T> cache(200, s.block_size, s.kv_heads, s.head_dim);
      const auto table = cache.Take(kLength);
      Matrix<float> out(kLength, width);
      int at = 0;
      for (int n : chunks) {
        simd::WriteKv(pool, cache.layer(), k.view().Rows(at, n), v.view().Rows(at, n),
                      cache.Slots(table, at, n));
        const AttentionSegment segment{0, n, at, table.data()};
        simd::Attend(isa, pool, out.view().Rows(at, n), q.view().Rows(at, n), cache.layer(), {&segment, 1},
                     0.2f);
        at += n;
      }
      results.push_back(out);
      ExpectSame(out.view(), results[0].view(), std::to_string(chunks.size()) + " chunks");
    }
  }
}
TEST_P(AttentionTest, Bf16ChunksAreTheWhole) { ChunksAreTheWhole<bf16>(GetParam()); }
TEST_P(AttentionTest, F32ChunksAreTheWhole) { ChunksAreTheWhole<float>(GetParam()); }

// Scores far apart: the early positions' weights vanish against a late giant, and the other way round.
TEST_P(AttentionTest, HugeScoresStayFinite) {
  Pool pool(2);
  constexpr int kLength = 200;
  Cache<float> cache(kLength, 16, 1, 16);
  const auto table = cache.Take(kLength);
  Matrix<float> q(1, 16), k(kLength, 16), v = Matrix<float>::Random(kLength, 16, 1);
  q.Fill(1);
  for (int p = 0; p < kLength; ++p) k.view().row(p)[0] = p == 150 ? 3e4f : p == 3 ? 2e4f : -3e4f;
  simd::WriteKv(pool, cache.layer(), k.view(), v.view(), cache.Slots(table, 0, kLength));
  const AttentionSegment segment{0, 1, kLength - 1, table.data()};
  Matrix<float> out(1, 16);
  simd::Attend(GetParam(), pool, out.view(), q.view(), cache.layer(), {&segment, 1}, 1.f);
  ExpectSame(out.view(), v.view().Rows(150, 1), "the one weight");
}

TEST_P(AttentionTest, NoSegmentsIsNothing) {
  Pool pool(2);
  Cache<bf16> cache(4, 16, 1, 16);
  Matrix<float> q(1, 16), out(1, 16);
  out.Fill(5);
  simd::Attend(GetParam(), pool, out.view(), q.view(), cache.layer(), {}, 1.f);
  EXPECT_EQ(out.view().row(0)[3], 5);
}

INSTANTIATE_TEST_SUITE_P(All, AttentionTest, testing::ValuesIn(Isas()), IsaName);

template <class T>
void WritesAreTheReferences() {
  Pool pool(3);
  for (const Shape& s : kShapes) {
    Cache<T> a(60, s.block_size, s.kv_heads, s.head_dim), b(60, s.block_size, s.kv_heads, s.head_dim);
    const int width = s.kv_heads * s.head_dim, rows = 41;
    const auto k = Matrix<float>::Random(rows, width, 1, 1, 2),
               v = Matrix<float>::Random(rows, width, 2, 1, 1);
    const auto slots = a.Slots(a.Take(rows), 0, rows);
    simd::WriteKv(pool, a.layer(), k.view(), v.view(), slots);
    ref::WriteKv(b.layer(), k.view(), v.view(), slots);
    const size_t bytes = size_t{60} * s.block_size * width * sizeof(T);
    EXPECT_EQ(std::memcmp(a.layer().k, b.layer().k, bytes), 0);
    EXPECT_EQ(std::memcmp(a.layer().v, b.layer().v, bytes), 0);
  }
}
TEST(WriteKvTest, WritesOnlyTheSlotsAndRoundsToNearest) {
  WritesAreTheReferences<bf16>();
  WritesAreTheReferences<float>();
}

}  // namespace
}  // namespace hydrad
