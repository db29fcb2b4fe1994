#include "kernels/attention.h"

#include <cmath>

#include "tests/kernels/cuda/cuda_cases.h"

namespace hydrad {
namespace {

struct Shape {
  int heads, kv_heads, head_dim, block_size;
};
struct Length {
  int first, rows;
};

double Largest(Mat<const float> m) {
  double top = 0;
  for (int r = 0; r < m.rows; ++r) {
    for (int c = 0; c < m.cols; ++c) top = std::max(top, double{std::fabs(m.row(r)[c])});
  }
  return top;
}

// A cache whose unused slots are NaN, and sequences with scattered block tables.
class Case {
 public:
  Case(const Shape& s, const std::vector<Length>& lengths, uint64_t seed, float size = 1) : shape_(s) {
    int blocks = 0;
    for (const Length& l : lengths) blocks += (l.first + l.rows + s.block_size - 1) / s.block_size;
    blocks_ = blocks;
    const size_t elements = size_t(blocks) * s.block_size * s.kv_heads * s.head_dim;
    k_.assign(elements, ToBf16(NAN));
    v_ = k_;
    int next = 0;
    for (const Length& l : lengths) {
      const int count = l.first + l.rows, width = s.kv_heads * s.head_dim;
      segments_.push_back({rows_, rows_ + l.rows, l.first, static_cast<int32_t>(tables_.size())});
      std::vector<int32_t> table;
      for (int p = 0; p < count; p += s.block_size) table.push_back(blocks - 1 - next++);
      tables_.insert(tables_.end(), table.begin(), table.end());
      const auto k = Matrix<float>::Random(count, width, ++seed, size),
                 v = Matrix<float>::Random(count, width, ++seed);
      std::vector<int32_t> slots;
      for (int p = 0; p < count; ++p)
        slots.push_back(table[p / s.block_size] * s.block_size + p % s.block_size);
      ref::WriteKv<bf16>(Host(), k.view(), v.view(), slots);
      keys_ = std::max(keys_, Largest(k.view())), values_ = std::max(values_, Largest(v.view()));
      longest_ = std::max(longest_, count);
      rows_ += l.rows;
    }
  }

  KvLayer<bf16> Host() { return {k_.data(), v_.data(), shape_.block_size, shape_.kv_heads, shape_.head_dim}; }
  Matrix<float> Want(const Matrix<float>& q, float scale) {
    std::vector<AttentionSegment> segments;
    for (const auto& s : segments_) {
      segments.push_back({s.row_begin, s.row_end, s.first_position, tables_.data() + s.table_begin});
    }
    Matrix<float> want(rows_, q.view().cols);
    ref::Attend<bf16>(want.view(), q.view(), Host(), segments, scale);
    return want;
  }
  Matrix<float> Got(const Matrix<float>& q, float scale, cudaStream_t stream, int partials = 4096,
                    int blocks = 6, int out_gap = 0, int first_block = 0) const {
    std::vector<cuda::AttentionItem> items;
    std::vector<cuda::AttentionMerge> merges;
    cuda::PlanAttention(segments_, shape_.heads / shape_.kv_heads, partials, &items, &merges);
    merged_ = static_cast<int>(merges.size());
    const OnDevice<cuda::AttentionSegment> segments(segments_);
    std::vector<int32_t> table = tables_;
    for (int32_t& block : table) block += first_block;
    const OnDevice<int32_t> tables(table);
    const OnDevice<cuda::AttentionItem> item_list(items);
    const OnDevice<cuda::AttentionMerge> merge_list(merges);
    const OnDevice<cuda::AttentionPlan> plan(
        std::vector<cuda::AttentionPlan>{{segments.data(), tables.data(), item_list.data(), merge_list.data(),
                                          static_cast<int>(items.size()), merged_}});
    const OnDevice<float> parts(size_t(partials) * shape_.kv_heads * shape_.head_dim);
    const OnDevice<float2> sums(size_t(partials) * shape_.kv_heads);
    const OnDevice<bf16> k(k_), v(v_);
    const DeviceMatrix<bf16> queries(q), out(Matrix<float>(rows_, q.view().cols, out_gap));
    const int64_t before = int64_t{first_block} * shape_.block_size * shape_.kv_heads * shape_.head_dim;
    Check(cuda::Attend(out, queries,
                       {Before(k.data(), before), Before(v.data(), before), shape_.block_size,
                        shape_.kv_heads, shape_.head_dim},
                       plan.data(), scale, {parts.data(), sums.data(), partials, blocks}, stream));
    Check(cudaStreamSynchronize(stream));
    return out.Read();
  }

  // A weight is wrong by what its score is, by its own rounding to bf16, and by the sums'; then the output's.
  double Bound(const Matrix<float>& q, float scale) const {
    const double score = (shape_.head_dim + 8) * kUnit * Largest(q.view()) * keys_ * shape_.head_dim * scale;
    return (std::expm1(2 * score) + kUnitBf16 + (longest_ + 40) * kUnit) * values_;
  }
  int rows() const { return rows_; }
  int merged() const { return merged_; }

 private:
  const Shape shape_;
  int blocks_, rows_ = 0, longest_ = 0;
  double keys_ = 0, values_ = 0;
  std::vector<bf16> k_, v_;
  std::vector<int32_t> tables_;
  std::vector<cuda::AttentionSegment> segments_;
  mutable int merged_ = 0;
};

class CudaAttentionTest : public CudaTest {
 protected:
  void ExpectReference(const Shape& s, const std::vector<Length>& lengths, int gap, const std::string& what,
                       int partials = 4096, int blocks = 6) {
    Case c(s, lengths, s.head_dim);
    const float scale = 1 / std::sqrt(static_cast<float>(s.head_dim));
    const auto q = Rounded(Matrix<float>::Random(c.rows(), s.heads * s.head_dim, 9, 1, gap));
    const Matrix<float> got = c.Got(q, scale, stream_, partials, blocks, gap), want = c.Want(q, scale);
    const double bound = c.Bound(q, scale);
    ExpectWithin(
        got.view(), want.view(),
        [&](int r, int col) { return bound + kUnitBf16 * std::fabs(want.view().row(r)[col]); }, what);
  }
};

// Every width of tile, padded ones and those of the slow path; groups that divide a tile and that do not;
// prefill, chunks behind a prefix, and decode.
TEST_F(CudaAttentionTest, MatchesReference) {
  for (const Shape& s : {Shape{9, 3, 64, 16},
                         {1, 1, 16, 1},
                         {4, 4, 32, 7},
                         {6, 2, 80, 16},
                         {8, 1, 128, 32},
                         {2, 2, 24, 5},
                         {3, 1, 1, 16},
                         {20, 1, 48, 16},
                         {5, 1, 33, 3},
                         {2, 1, 256, 16},
                         {2, 2, 96, 8}}) {
    ExpectReference(s, {{0, 1}, {63, 1}, {64, 1}, {0, 21}, {5, 66}, {130, 3}}, s.head_dim % 8 == 0 ? 8 : 3,
                    "head_dim " + std::to_string(s.head_dim) + " heads " + std::to_string(s.heads));
  }
}

// A cache of more than 2^32 elements: only the blocks behind them are there. In both kernels, split and not.
TEST_F(CudaAttentionTest, BlocksFarIntoTheCacheAreFound) {
  for (const Shape& s : {Shape{4, 2, 64, 16}, {2, 1, 33, 16}}) {
    const Case c(s, {{1300, 1}, {5, 66}}, 1);
    const auto q = Rounded(Matrix<float>::Random(c.rows(), s.heads * s.head_dim, 9));
    const int64_t elements = int64_t{s.block_size} * s.kv_heads * s.head_dim;
    const int first_block = static_cast<int>((int64_t{1} << 32) / elements + 3);
    ExpectSame(c.Got(q, 0.1f, stream_, 4096, 6, 0, first_block).view(), c.Got(q, 0.1f, stream_).view(),
               "head_dim " + std::to_string(s.head_dim));
  }
}

TEST_F(CudaAttentionTest, UnalignedRowsMatchReference) {
  ExpectReference({4, 2, 64, 16}, {{0, 5}, {70, 1}}, 3, "unaligned");
}

// Contexts that are split, in both kinds of tile, with splits that some rows do not see at all.
TEST_F(CudaAttentionTest, SplitContextsMatchReference) {
  for (const Shape& s : {Shape{4, 2, 64, 16}, {2, 1, 33, 16}}) {
    const std::vector<Length> lengths{{1300, 1}, {511, 2}, {512, 1}, {500, 40}, {7, 1}};
    Case c(s, lengths, 1);
    const float scale = 0.1f;
    const auto q = Rounded(Matrix<float>::Random(c.rows(), s.heads * s.head_dim, 9));
    const Matrix<float> want = c.Want(q, scale);
    const double bound = c.Bound(q, scale);
    const int group = s.heads / s.kv_heads;
    for (const int partials : {4096, 3 * group, 0}) {
      const Matrix<float> got = c.Got(q, scale, stream_, partials);
      // Not split where partial results would not fit.
      if (partials == 4096) {
        EXPECT_GT(c.merged(), 3 * group);
      } else {
        EXPECT_EQ(c.merged(), partials == 0 ? 0 : group);
      }
      ExpectWithin(
          got.view(), want.view(),
          [&](int r, int col) { return bound + kUnitBf16 * std::fabs(want.view().row(r)[col]); },
          std::to_string(partials) + " partials");
    }
  }
}

// What else is in the batch, and over how many blocks it is spread, changes no bit.
TEST_F(CudaAttentionTest, SegmentAloneIsSegmentInBatch) {
  const Shape s{4, 2, 64, 16};
  Case both(s, {{70, 1}, {3, 30}}, 5), first(s, {{70, 1}}, 5);
  const auto q = Rounded(Matrix<float>::Random(31, 256, 9));
  Matrix<float> one(1, 256);
  std::copy_n(q.view().row(0), 256, one.view().row(0));
  ExpectSame(first.Got(one, 0.1f, stream_, 64, 1).view(), both.Got(q, 0.1f, stream_, 64, 9).view().Rows(0, 1),
             "alone");
}

// Scores far apart: early weights vanish against a late giant, and the other way round.
TEST_F(CudaAttentionTest, HugeScoresStayFinite) {
  const Shape s{1, 1, 16, 16};
  for (const int rows : {1, 40}) {
    Case c(s, {{160, rows}}, 1, 1e4f);
    auto q = Rounded(Matrix<float>::Random(rows, 16, 2, 100));
    const Matrix<float> got = c.Got(q, 1, stream_), want = c.Want(q, 1);
    for (int r = 0; r < rows; ++r) {
      for (int d = 0; d < 16; ++d) EXPECT_TRUE(std::isfinite(got.view().row(r)[d]));
    }
    // One weight is all there is, unless two scores of size 1e7 are next to each other: then either may win.
    int same = 0;
    for (int r = 0; r < rows; ++r) same += std::fabs(got.view().row(r)[0] - want.view().row(r)[0]) < 0.05;
    EXPECT_EQ(same, rows);
  }
}

TEST_F(CudaAttentionTest, NoSegmentsIsNothing) {
  Case c({1, 1, 16, 16}, {}, 1);
  EXPECT_EQ(c.Got(Matrix<float>(0, 16), 1, stream_).view().rows, 0);
}

TEST(PlanAttentionTest, SplitsByOwnLengthAlone) {
  std::vector<cuda::AttentionItem> items;
  std::vector<cuda::AttentionMerge> merges;
  const std::vector<cuda::AttentionSegment> segments{{0, 1, 1100, 0}, {1, 200, 0, 0}};
  cuda::PlanAttention(segments, 4, 1000, &items, &merges);
  ASSERT_EQ(items.size(), 3u + 13u);  // 199 * 4 pairs in tiles of 64
  EXPECT_EQ(items[2].position_begin, 1024);
  EXPECT_EQ(items[2].position_end, 1101);
  EXPECT_EQ(items[2].partial, 8);
  EXPECT_EQ(items[3].partial, -1);
  EXPECT_EQ(items[3].position_end, 16);
  EXPECT_EQ(items.back().pair_count, 199 * 4 - 12 * 64);
  ASSERT_EQ(merges.size(), 4u);
  EXPECT_EQ(merges[3].head, 3);
  EXPECT_EQ(merges[3].partial, 3);
  EXPECT_EQ(merges[3].stride, 4);
  EXPECT_EQ(merges[3].splits, 3);
}

}  // namespace
}  // namespace hydrad
