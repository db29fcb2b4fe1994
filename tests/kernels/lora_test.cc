#include "kernels/lora.h"

#include "kernels/simd/by_isa.h"
#include "kernels/simd/pool.h"
#include "tests/kernels/lora_cases.h"

namespace hydrad {
namespace {

using simd::Isa;
using simd::Pool;

template <class T>
void Add(Isa isa, Pool& pool, Mat<float> y, Mat<const float> x, std::span<const LoraRun<T>> runs) {
  Scratch scratch(LoraScratchBytes(runs));
  simd::AddLora(isa, pool, y, x, runs, scratch.span());
}

std::string Name(const std::vector<std::string>& words, const std::vector<int>& values) {
  std::string name;
  for (size_t i = 0; i < words.size(); ++i) name += words[i] + " " + std::to_string(values[i]) + " ";
  return name;
}

class LoraTest : public testing::TestWithParam<Isa> {};

// Returns how many gates a run records per row: those of the group's routed members, one after the other.
template <class T>
int GateCount(const LoraGroup<T>& group) {
  int count = 0;
  for (const LoraMember<T>& m : group.members) count += m.gate.rule == GateRule::kNone ? 0 : m.experts;
  return count;
}

// Compares one run over all rows, and the gates it records, with the reference. Counts rows, and those whose
// router is too near a tie to be compared.
struct Tally {
  int rows = 0, near_ties = 0;
};
template <class T>
void ExpectLikeReference(Isa isa, Pool& pool, LoraRun<T> run, uint64_t seed, const std::string& what,
                         Tally* tally) {
  const int rows = run.row_end, gates = GateCount(*run.group);
  int out = 0;
  for (const LoraMember<T>& m : run.group->members) out += m.out;
  const auto x = Matrix<float>::Random(rows, run.group->in, seed, 0.5, 2);
  const auto before = Matrix<float>::Random(rows, out, seed + 1, 1, 3);
  Matrix<float> got = before, want = before, got_gates(rows, gates, 1), want_gates(rows, gates, 1);
  run.gates_stride = got_gates.view().stride;
  run.gates = got_gates.view().data;
  Add<T>(isa, pool, got.view(), x.view(), {&run, 1});
  run.gates = want_gates.view().data;
  ref::AddLora<T>(want.view(), x.view(), {&run, 1});
  std::vector<std::vector<double>> bound, gate_bound(rows);
  for (int r = 0; r < rows; ++r) {
    const float* row = x.view().row(r);
    bound.push_back(LoraBound(run, row, before.view().row(r), out));
    bool near_tie = false;
    for (const LoraMember<T>& m : run.group->members) {
      const double error = GateError(run, m, row);
      near_tie |= std::isinf(error);
      if (m.gate.rule != GateRule::kNone) gate_bound[r].insert(gate_bound[r].end(), m.experts, error);
    }
    ++tally->rows;
    tally->near_ties += near_tie;
  }
  ExpectWithin(
      got.view(), want.view(), [&](int r, int c) { return bound[r][c]; }, what);
  ExpectWithin(
      got_gates.view(), want_gates.view(), [&](int r, int c) { return gate_bound[r][c]; }, what + " gates");
}

template <class T>
void MatchesReference(Isa isa) {
  Pool pool(3);
  Tally tally;
  const auto& specs = LoraSpecs();
  for (int in : {1, 16, 31, 64, 577}) {
    for (size_t a = 0; a < specs.size(); ++a) {
      const LoraAdapter<T> adapter(in, specs[a], 10 * in + a);
      for (int rows : {1, 2, 5, 19}) {
        const bool scaled = std::ranges::any_of(specs[a], [](const auto& s) { return s.out_scale; });
        const LoraRun<T> run{0, rows, &adapter.group(), scaled || rows == 1 ? 1.f : -0.7f};
        ExpectLikeReference(isa, pool, run, in + rows,
                            Name({"in", "adapter", "rows"}, {in, static_cast<int>(a), rows}), &tally);
      }
    }
  }
  EXPECT_LT(tally.near_ties, tally.rows / 20);
}
TEST_P(LoraTest, Bf16MatchesReference) { MatchesReference<bf16>(GetParam()); }
TEST_P(LoraTest, F32MatchesReference) { MatchesReference<float>(GetParam()); }

// Every rank of the specification, alone and mixed; 1 to 16 experts with their own A or one for all, keeping
// 1 to all of them, as the adapter says and as the run says.
TEST_P(LoraTest, KeepsAnyNumberOfAnyExperts) {
  Pool pool(2);
  Tally tally;
  const int kRanks[] = {1, 3, 8, 16, 64, 128};
  for (int experts = 1; experts <= 16; ++experts) {
    for (int k = 1; k <= experts; ++k) {
      const int rank = kRanks[(experts + k) % 6];
      const bool shared = k % 2 == 1, mixed = !shared && experts % 3 == 0, by_run = k % 3 == 0;
      MemberSpec spec{.out = 37, .ranks = std::vector<int>(experts, rank), .shared_a = shared};
      for (int e = 0; mixed && e < experts; ++e) spec.ranks[e] = kRanks[e % 6];
      spec.gate = by_run ? kDense : Keep(k, experts % 2 == 0);
      const LoraAdapter<float> adapter(24, {spec}, 100 * experts + k);
      LoraRun<float> run{0, 18, &adapter.group()};
      run.top_k = by_run ? k : 0;
      ExpectLikeReference(GetParam(), pool, run, k, Name({"k", "experts"}, {k, experts}), &tally);
    }
  }
  EXPECT_LT(tally.near_ties, tally.rows / 20);
}

// A mixed batch, every adapter of another shape: each row has the bits it has alone, and rows of no run stay
// as they are.
template <class T>
void RowAloneIsRowInBatch(Isa isa) {
  constexpr int kIn = 100, kRows = 120, kOut = 530;
  std::deque<LoraAdapter<T>> adapters;
  for (size_t a = 0; a < LoraSpecs().size(); ++a) adapters.emplace_back(kIn, LoraSpecs()[a], a);
  std::vector<LoraRun<T>> runs;
  int at = 2;
  for (int rows : {1, 4, 3, 1, 19, 6, 1, 2, 17, 20, 18, 3, 5, 4, 3}) {
    const size_t i = runs.size();
    runs.push_back({at, at + rows, &adapters[i % adapters.size()].group()});
    runs.back().top_k = i % 5 == 3 ? 2 : 0;
    at += rows + (i % 3 == 0);
  }
  ASSERT_LE(at, kRows);
  const auto x = Matrix<float>::Random(kRows, kIn, 1), before = Matrix<float>::Random(kRows, kOut, 2);
  Pool one(1), four(4);
  Matrix<float> alone = before, together = before;
  for (LoraRun<T> single : runs) {
    const int begin = single.row_begin, end = single.row_end;
    for (int r = begin; r < end; ++r) {
      single.row_begin = 0, single.row_end = 1;
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
  for (const size_t spec : {4u, 8u, 10u}) {
    const LoraAdapter<bf16> adapter(kIn, LoraSpecs()[spec], 3);
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
}

// What an expert that no row picked holds is not looked at: with NaN in its place nothing changes.
TEST_P(LoraTest, ExpertsThatNobodyPicksAreNotRead) {
  constexpr int kIn = 40;
  Pool pool(2);
  for (const bool shared : {false, true}) {
    const std::vector<MemberSpec> spec = {
        {.out = 50, .ranks = std::vector<int>(7, 9), .gate = Keep(2, true), .shared_a = shared}};
    const LoraAdapter<bf16> whole(kIn, spec, 5);
    LoraAdapter<bf16> spoilt(kIn, spec, 5);
    const auto x = Matrix<float>::Random(1, kIn, 1), before = Matrix<float>::Random(1, 50, 2);
    Matrix<float> want = before, got = before, gates(1, 7);
    LoraRun<bf16> run{0, 1, &whole.group()};
    run.gates = gates.view().data;
    Add<bf16>(GetParam(), pool, want.view(), x.view(), {&run, 1});
    int picked = 0;
    for (int e = 0; e < 7; ++e) {
      picked += run.gates[e] != 0;
      if (run.gates[e] == 0) spoilt.SpoilExpert(0, e);
    }
    EXPECT_EQ(picked, 2);
    run.group = &spoilt.group();
    Add<bf16>(GetParam(), pool, got.view(), x.view(), {&run, 1});
    ExpectSame(got.view(), want.view(), "spoilt experts");
  }
}

// A router that overflows must not pass for one that picked nobody.
TEST_P(LoraTest, BrokenRouterMakesNaN) {
  Pool pool(1);
  for (const LoraGate gate : {kDense, Keep(1, true), Keep(1, false), Above(0.5f)}) {
    const LoraAdapter<float> adapter(16, {{.out = 4, .ranks = {1, 1, 1}, .gate = gate}}, 1);
    Matrix<float> x(1, 16), y(1, 4);
    x.Fill(INFINITY);
    const LoraRun<float> run{0, 1, &adapter.group()};
    Add<float>(GetParam(), pool, y.view(), x.view(), {&run, 1});
    for (int c = 0; c < 4; ++c) EXPECT_TRUE(std::isnan(y.view().row(0)[c]));
  }
}

TEST_P(LoraTest, NoRunsChangesNothing) {
  Pool pool(2);
  const auto before = Matrix<float>::Random(3, 8, 1);
  Matrix<float> y = before;
  Add<bf16>(GetParam(), pool, y.view(), before.view(), {});
  ExpectSame(y.view(), before.view(), "no runs");
}

INSTANTIATE_TEST_SUITE_P(All, LoraTest, testing::ValuesIn(Isas()), IsaName);

// The reference on numbers that can be worked out by hand: x = 2, `router` rows of D, then an A of 1 for all.
float ByHand(const std::vector<float>& router, const std::vector<float>& up, const LoraGate& gate) {
  const int experts = static_cast<int>(up.size());
  std::vector<float> down = router;
  down.push_back(1);
  std::vector<int32_t> ranks(experts + 1);
  std::iota(ranks.begin(), ranks.end(), 0);
  const std::vector<float> scale(experts, 1);
  LoraMember<float> m{};
  m.out = 1, m.experts = experts, m.rank_begin = ranks.data(), m.gate = gate, m.shared_a = true;
  m.scale = scale.data(), m.up = up.data();
  const LoraGroup<float> group{down.data(), static_cast<int>(down.size()), 1, {&m, 1}};
  float y = 0, x = 2;
  const LoraRun<float> run{0, 1, &group};
  ref::AddLora<float>({&y, 1, 1, 1}, Mat<const float>{&x, 1, 1, 1}, {&run, 1});
  return y;
}

TEST(LoraReferenceTest, OneExpertIsLora) { EXPECT_EQ(ByHand({}, {3}, {}), 6); }
TEST(LoraReferenceTest, EqualLogitsShareEvenly) {
  EXPECT_EQ(ByHand({0, 0}, {1, 3}, kDense), 0.5f * 2 * 1 + 0.5f * 2 * 3);
}
TEST(LoraReferenceTest, TiesGoToTheLowerExpert) {
  EXPECT_EQ(ByHand({0, 0, 0, 0}, {1, 3, 5, 7}, Keep(2, false)), 0.25f * 2 * 1 + 0.25f * 2 * 3);
  EXPECT_EQ(ByHand({0, 0, 0, 0}, {1, 3, 5, 7}, Keep(2, true)), 0.5f * 2 * 1 + 0.5f * 2 * 3);
}
TEST(LoraReferenceTest, ThresholdLeavesOutTheSmall) {
  const float large = 0.5f * std::log(2.f);  // p = 1/2, 1/4, 1/4; the threshold's own row is 0: sigmoid 1/2
  EXPECT_NEAR(ByHand({large, 0, 0, 0}, {1, 3, 5}, Above(0.6f)), 2, 1e-6);
  EXPECT_NEAR(ByHand({large, 0, 0, 0}, {1, 3, 5}, Above(0.4f)), 2 * (0.3 * 1 + 0.05 * 3 + 0.05 * 5) / 0.4,
              1e-6);
  EXPECT_EQ(ByHand({large, 0, 0, 0}, {1, 3, 5}, Above(2)), 0);
}
TEST(LoraReferenceTest, FixedThresholdLeavesOutTheSmallAndLowersNone) {
  const float one = 0.5f * std::log(4.f), two = 0.5f * std::log(3.f);  // p = 1/2, 3/8, 1/8
  EXPECT_NEAR(ByHand({one, two, 0}, {1, 3, 5}, From(0)), 2 * (0.5 * 1 + 0.375 * 3 + 0.125 * 5), 1e-6);
  EXPECT_NEAR(ByHand({one, two, 0}, {1, 3, 5}, From(0.3f)), 2 * (0.5 * 1 + 0.375 * 3) / 0.875, 1e-6);
  EXPECT_NEAR(ByHand({one, two, 0}, {1, 3, 5}, From(0.4f)), 2, 1e-6);
  EXPECT_EQ(ByHand({one, two, 0}, {1, 3, 5}, From(0.6f)), 0);
  EXPECT_EQ(ByHand({0, 0}, {1, 3}, From(0.5f)), 2 * (0.5f * 1 + 0.5f * 3));  // at the threshold: kept
}

}  // namespace
}  // namespace hydrad
