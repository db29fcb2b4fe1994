#include "kernels/lora.h"

#include <deque>

#include "kernels/simd/by_isa.h"
#include "kernels/simd/pool.h"
#include "tests/kernels/cases.h"

namespace hydrad {
namespace {

using simd::Isa;
using simd::Pool;

struct MemberSpec {
  int out, experts, rank;
  bool routed = false, shared_a = false, bias = false;
};

// An adapter's weights for one group, with the memory they view.
template <class T>
class Adapter {
 public:
  Adapter(int in, const std::vector<MemberSpec>& specs, uint64_t seed, float size = 0.3) {
    int rows = 0, out_begin = 0;
    for (const MemberSpec& s : specs) {
      LoraMember<T> m{};
      m.down_begin = rows;
      m.out_begin = out_begin;
      m.out = s.out;
      m.experts = s.experts;
      m.rank = s.rank;
      m.routed = s.routed;
      m.shared_a = s.shared_a;
      scales_.push_back(Matrix<float>::Random(1, s.experts, ++seed));
      m.scale = scales_.back().view().data;
      biases_.push_back(Matrix<float>::Random(1, s.experts, ++seed));
      m.router_bias = s.bias ? biases_.back().view().data : nullptr;
      ups_.push_back(Matrix<T>::Random(s.experts * s.rank, s.out, ++seed, size));
      m.up = ups_.back().view().data;
      members_.push_back(m);
      rows += (s.routed ? s.experts : 0) + s.rank * (s.shared_a ? 1 : s.experts);
      out_begin += s.out;
    }
    down_ = std::make_unique<Matrix<T>>(Matrix<T>::Random(rows, in, ++seed, size));
    group_ = {down_->view().data, rows, in, members_};
    out_ = out_begin;
  }
  Adapter(const Adapter&) = delete;
  Adapter& operator=(const Adapter&) = delete;

  const LoraGroup<T>& group() const { return group_; }
  int out() const { return out_; }

 private:
  std::deque<Matrix<float>> scales_, biases_;
  std::deque<Matrix<T>> ups_;
  std::vector<LoraMember<T>> members_;
  std::unique_ptr<Matrix<T>> down_;
  LoraGroup<T> group_;
  int out_;
};

template <class T>
void Add(Isa isa, Pool& pool, Mat<float> y, Mat<const float> x, std::span<const LoraRun<T>> runs) {
  Scratch scratch(LoraScratchBytes(runs));
  simd::AddLora(isa, pool, y, x, runs, scratch.span());
}

// The sum of the absolute values of every product that makes up element c of a row: what f32 rounding is
// relative to.
template <class T>
std::vector<double> Magnitude(const LoraGroup<T>& group, const float* x, int out) {
  std::vector<double> sum(out, 0.0);
  for (const LoraMember<T>& m : group.members) {
    const int a_begin = m.down_begin + (m.routed ? m.experts : 0);
    for (int e = 0; e < m.experts; ++e) {
      for (int j = 0; j < m.rank; ++j) {
        const T* a = group.down + int64_t{a_begin + (m.shared_a ? j : e * m.rank + j)} * group.in;
        double u = 0;
        for (int k = 0; k < group.in; ++k) u += std::fabs(double{x[k]} * ToFloat(a[k]));
        for (int c = 0; c < m.out; ++c) {
          sum[m.out_begin + c] +=
              u * std::fabs(m.scale[e] * ToFloat(m.up[int64_t{e * m.rank + j} * m.out + c]));
        }
      }
    }
  }
  return sum;
}

// The largest absolute error of a router's logit in f32; a gate is wrong by at most e^(2 of them) - 1 of
// itself.
template <class T>
double LogitError(const LoraGroup<T>& group, const float* x) {
  double worst = 0;
  for (const LoraMember<T>& m : group.members) {
    for (int e = 0; m.routed && e < m.experts; ++e) {
      double sum = m.router_bias ? std::fabs(m.router_bias[e]) : 0;
      for (int k = 0; k < group.in; ++k) {
        sum += std::fabs(double{x[k]} * ToFloat(group.down[int64_t{m.down_begin + e} * group.in + k]));
      }
      worst = std::max(worst, (group.in / 16 + 8) * kUnit * sum);
    }
  }
  return worst;
}

const std::vector<std::vector<MemberSpec>> kAdapters = {
    {{.out = 5, .experts = 1, .rank = 1}},
    {{.out = 67, .experts = 1, .rank = 3},
     {.out = 16, .experts = 1, .rank = 8},
     {.out = 1, .experts = 1, .rank = 16}},
    {{.out = 300, .experts = 1, .rank = 64}, {.out = 33, .experts = 1, .rank = 128}},
    {{.out = 96, .experts = 3, .rank = 8, .routed = true, .shared_a = true}},
    {{.out = 40, .experts = 16, .rank = 5, .routed = true, .bias = true},
     {.out = 90, .experts = 7, .rank = 3, .routed = true, .shared_a = true, .bias = true}},
    {{.out = 530, .experts = 4, .rank = 16}},  // composed: ungated experts
    {{.out = 64, .experts = 1, .rank = 2, .routed = true}, {.out = 64, .experts = 1, .rank = 1}},
};

class LoraTest : public testing::TestWithParam<Isa> {};

template <class T>
void MatchesReference(Isa isa) {
  Pool pool(3);
  for (int in : {1, 16, 31, 64, 577}) {
    for (size_t a = 0; a < kAdapters.size(); ++a) {
      const Adapter<T> adapter(in, kAdapters[a], 10 * in + a);
      for (int rows : {1, 2, 5, 19}) {
        const auto x = Matrix<float>::Random(rows, in, rows, 0.5, 2);
        const auto before = Matrix<float>::Random(rows, adapter.out(), rows + 1, 1, 3);
        Matrix<float> got = before, want = before;
        const LoraRun<T> run{0, rows, &adapter.group()};
        Add<T>(isa, pool, got.view(), x.view(), {&run, 1});
        ref::AddLora<T>(want.view(), x.view(), {&run, 1});
        std::vector<std::vector<double>> size(rows);
        std::vector<double> gate(rows);
        for (int r = 0; r < rows; ++r) {
          size[r] = Magnitude(adapter.group(), x.view().row(r), adapter.out());
          gate[r] = std::expm1(2 * LogitError(adapter.group(), x.view().row(r)));
        }
        // Two chains (in / 16 FMAs and a tree of 4; experts * rank FMAs), softmax, and a few products.
        const double terms = in / 16 + 1 + 4 + 128 + 40;
        ExpectWithin(
            got.view(), want.view(),
            [&](int r, int c) {
              return (terms * kUnit + gate[r]) * size[r][c] + kUnit * 2 * std::fabs(want.view().row(r)[c]) +
                     1e-37;
            },
            "in " + std::to_string(in) + " adapter " + std::to_string(a) + " rows " + std::to_string(rows));
      }
    }
  }
}
TEST_P(LoraTest, Bf16MatchesReference) { MatchesReference<bf16>(GetParam()); }
TEST_P(LoraTest, F32MatchesReference) { MatchesReference<float>(GetParam()); }

// A mixed batch, every adapter of another shape: each row has the bits it has alone, and rows of no run stay
// as they are.
template <class T>
void RowAloneIsRowInBatch(Isa isa) {
  constexpr int kIn = 100, kRows = 70, kOut = 530;
  std::deque<Adapter<T>> adapters;
  for (size_t a = 0; a < kAdapters.size(); ++a) adapters.emplace_back(kIn, kAdapters[a], a);
  std::vector<LoraRun<T>> runs;
  int at = 2;
  for (int rows : {1, 4, 3, 1, 19, 6, 17, 2}) {
    runs.push_back({at, at + rows, &adapters[runs.size() % adapters.size()].group()});
    at += rows + (runs.size() % 3 == 0);
  }
  ASSERT_LE(at, kRows);
  const auto x = Matrix<float>::Random(kRows, kIn, 1), before = Matrix<float>::Random(kRows, kOut, 2);
  Pool one(1), four(4);
  Matrix<float> alone = before, together = before;
  for (const LoraRun<T>& run : runs) {
    for (int r = run.row_begin; r < run.row_end; ++r) {
      const LoraRun<T> single{0, 1, run.group};
      Add<T>(isa, one, alone.view().Rows(r, 1), x.view().Rows(r, 1), {&single, 1});
    }
  }
  Add<T>(isa, four, together.view(), x.view(), runs);
  ExpectSame(together.view(), alone.view(), "mixed batch");
}
TEST_P(LoraTest, Bf16RowAloneIsRowInBatch) { RowAloneIsRowInBatch<bf16>(GetParam()); }
TEST_P(LoraTest, F32RowAloneIsRowInBatch) { RowAloneIsRowInBatch<float>(GetParam()); }

// Enough coefficients that the gates are shared out over the pool too.
TEST_P(LoraTest, LongPromptIsItsRows) {
  constexpr int kIn = 48, kRows = 300;
  const Adapter<bf16> adapter(kIn, kAdapters[4], 3);
  const auto x = Matrix<float>::Random(kRows, kIn, 1),
             before = Matrix<float>::Random(kRows, adapter.out(), 2);
  Pool one(1), three(3);
  Matrix<float> whole = before, cut = before;
  const LoraRun<bf16> all{0, kRows, &adapter.group()};
  Add<bf16>(GetParam(), three, whole.view(), x.view(), {&all, 1});
  for (int begin = 0; begin < kRows; begin += 37) {
    const int rows = std::min(37, kRows - begin);
    const LoraRun<bf16> run{0, rows, &adapter.group()};
    Add<bf16>(GetParam(), one, cut.view().Rows(begin, rows), x.view().Rows(begin, rows), {&run, 1});
  }
  ExpectSame(whole.view(), cut.view(), "long prompt");
}

TEST_P(LoraTest, NoRunsChangesNothing) {
  Pool pool(2);
  const auto before = Matrix<float>::Random(3, 8, 1);
  Matrix<float> y = before;
  Add<bf16>(GetParam(), pool, y.view(), before.view(), {});
  ExpectSame(y.view(), before.view(), "no runs");
}

INSTANTIATE_TEST_SUITE_P(All, LoraTest, testing::ValuesIn(Isas()), IsaName);

TEST(LoraReferenceTest, OneExpertIsLora) {
  const float down[] = {1, 2}, up[] = {3, 4}, scale = 0.5, x[] = {10, 1};
  LoraMember<float> m{};
  m.out = 2, m.experts = 1, m.rank = 1, m.scale = &scale, m.up = up;
  const LoraGroup<float> group{down, 1, 2, {&m, 1}};
  float y[] = {1, 1};
  const LoraRun<float> run{0, 1, &group};
  ref::AddLora<float>({y, 1, 2, 2}, Mat<const float>{x, 1, 2, 2}, {&run, 1});
  EXPECT_EQ(y[0], 1 + 0.5 * 12 * 3);
  EXPECT_EQ(y[1], 1 + 0.5 * 12 * 4);
}

TEST(LoraReferenceTest, EqualLogitsShareEvenly) {
  const float down[] = {0, 0, 1}, up[] = {1, 3}, scale[] = {1, 1}, x = 2;  // two router rows of 0, one A
  LoraMember<float> m{};
  m.out = 1, m.experts = 2, m.rank = 1, m.routed = true, m.shared_a = true, m.scale = scale, m.up = up;
  const LoraGroup<float> group{down, 3, 1, {&m, 1}};
  float y = 0;
  const LoraRun<float> run{0, 1, &group};
  ref::AddLora<float>({&y, 1, 1, 1}, Mat<const float>{&x, 1, 1, 1}, {&run, 1});
  EXPECT_EQ(y, 0.5f * 2 * 1 + 0.5f * 2 * 3);
}

}  // namespace
}  // namespace hydrad
