#include "kernels/sampling.h"

#include <algorithm>
#include <map>

#include "kernels/philox.h"
#include "kernels/simd/kernel_table.h"
#include "tests/kernels/cases.h"
#include "tests/kernels/sampling_cases.h"

namespace hydrad {
namespace {

struct Call {
  SamplingParams params;
  std::vector<int32_t> prompt = {}, generated = {}, banned = {};
  uint64_t seed = 1, step = 0;
  int top_logprobs = -1;
  std::vector<uint32_t> allowed = {};
};

Sampled SampleOf(std::vector<float> logits, const Call& c) {
  return Sample(logits,
                {&c.params, c.prompt, c.generated, c.banned, c.seed, c.step, c.top_logprobs, c.allowed});
}
SamplingParams Greedy() {
  SamplingParams p;
  p.temperature = 0;
  return p;
}

// The tokens that ever come up in many draws.
std::map<int32_t, int> Draws(const std::vector<float>& logits, Call c, int n = 2000) {
  std::map<int32_t, int> count;
  for (int i = 0; i < n; ++i) {
    c.step = i;
    ++count[SampleOf(logits, c).token];
  }
  return count;
}
std::vector<int32_t> Support(const std::vector<float>& logits, const Call& c) {
  std::vector<int32_t> tokens;
  for (const auto& [token, count] : Draws(logits, c)) tokens.push_back(token);
  return tokens;
}
using Tokens = std::vector<int32_t>;

std::vector<float> Logs(std::vector<float> p) {
  for (float& x : p) x = std::log(x);
  return p;
}

TEST(PhiloxTest, KnownAnswers) {  // from the authors' Random123 distribution, kat_vectors
  EXPECT_EQ(Philox4x32({0, 0, 0, 0}, {0, 0}),
            (std::array<uint32_t, 4>{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(Philox4x32({~0u, ~0u, ~0u, ~0u}, {~0u, ~0u}),
            (std::array<uint32_t, 4>{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
}

TEST(GreedyTest, LargestLogitTiesToTheLowerId) {
  const struct {
    std::vector<float> logits;
    int32_t token;
  } cases[] = {{{1, 3, 2}, 1},
               {{3, 3, 3}, 0},
               {{-5}, 0},
               {{-INFINITY, -1e30f}, 1},
               {{0, INFINITY, 1e38f}, 1},
               {{INFINITY, INFINITY}, 0},
               {{-0.f, 0.f}, 0}};
  for (const auto& c : cases) EXPECT_EQ(SampleOf(c.logits, {Greedy()}).token, c.token);
}

TEST(GreedyTest, FindsItAnywhereInALongRow) {
  for (int at : {0, 1, 15, 16, 17, 500, 996}) {
    std::vector<float> logits(997, -3.f);
    logits[at] = -2.5f;
    EXPECT_EQ(SampleOf(logits, {Greedy()}).token, at);
  }
}

TEST(SampleTest, NothingToDrawIsMinusOne) {
  for (float temperature : {0.f, 1.f}) {
    Call c;
    c.params.temperature = temperature;
    EXPECT_EQ(SampleOf({1, NAN, 2}, c).token, -1);
    EXPECT_EQ(SampleOf({-INFINITY, -INFINITY}, c).token, -1);
    EXPECT_EQ(SampleOf({}, c).token, -1);
    std::vector<float> late(100, 0.f);
    late[99] = NAN;
    EXPECT_EQ(SampleOf(late, c).token, -1);
    c.banned = {0, 1};
    EXPECT_EQ(SampleOf({1, 2}, c).token, -1);
  }
}

TEST(SampleTest, NothingIsDrawnThatTheMaskLeavesOut) {
  Call c{Greedy()};
  c.allowed = {0b0101};
  EXPECT_EQ(SampleOf({1, 9, 2, 8}, c).token, 2);
  c.params.logit_bias = {{1, 100.f}, {0, 5.f}};  // of what the mask leaves out, a bias makes nothing
  EXPECT_EQ(SampleOf({1, 9, 2, 8}, c).token, 0);
  c.banned = {0};
  EXPECT_EQ(SampleOf({1, 9, 2, 8}, c).token, 2);
  c.banned = {0, 2};
  EXPECT_EQ(SampleOf({1, 9, 2, 8}, c).token, -1);
}

TEST(SampleTest, FiltersLookAtWhatTheMaskAllows) {
  Call c;
  c.allowed = {0b1100};
  c.top_logprobs = 2;
  for (const SamplingParams& p :
       {SamplingParams{.top_k = 1, .logit_bias = {}}, SamplingParams{.top_p = 0.01f, .logit_bias = {}},
        SamplingParams{.min_p = 1, .logit_bias = {}},
        SamplingParams{.top_k = 2, .min_p = 0.9f, .logit_bias = {}}}) {
    c.params = p;
    const Sampled got = SampleOf({9, 8, 1, 2}, c);
    EXPECT_EQ(got.token, 3);
    // Log-probabilities are the model's own, of all tokens.
    const std::vector<float> logits = {9, 8, 1, 2};
    const Sampled scored = Score(logits, 3, 2);
    EXPECT_EQ(got.logprob, scored.logprob);
    ASSERT_EQ(got.top.size(), 2u);
    EXPECT_EQ(got.top[0].token, 0);
    EXPECT_EQ(got.top[1].token, 1);
  }
}

TEST(SampleTest, AMaskOfAllTokensChangesNothing) {
  Choices choices(20261130);
  for (int i = 0; i < 200; ++i) {
    SamplingCase c = MakeSamplingCase(choices, 1 + i % 70);
    c.allowed.clear();
    std::vector<float> logits = c.logits, again = c.logits;
    const Sampled plain = Sample(logits, c.row());
    c.allowed.assign(MaskWords(static_cast<int>(logits.size())), ~uint32_t{0});
    const Sampled masked = Sample(again, c.row());
    EXPECT_EQ(masked.token, plain.token) << Describe(c);
    EXPECT_EQ(masked.logprob, plain.logprob) << Describe(c);
  }
}

TEST(SampleTest, BansBiasesAndForeignIds) {
  Call c{Greedy()};
  c.banned = {1, -1, 99};
  EXPECT_EQ(SampleOf({1, 9, 2}, c).token, 2);
  c.params.logit_bias = {{0, 5.f}, {77, 1e9f}, {-3, 1e9f}, {1, 1e9f}};
  EXPECT_EQ(SampleOf({1, 9, 2}, c).token, 0);
}

TEST(SampleTest, PenaltiesInTheirOrder) {
  const struct {
    std::string what;
    float repetition, presence, frequency;
    Tokens prompt, generated;
    std::vector<float> logits;
    int32_t token;
  } cases[] = {
      {"repetition divides a positive logit once", 2, 0, 0, {0, 0, 0}, {}, {3, 1.6f, 1.4f}, 1},
      {"repetition multiplies a negative one", 2, 0, 0, {0}, {}, {-1, -1.9f, -3}, 1},
      {"repetition sees generated tokens too", 2, 0, 0, {}, {0}, {3, 1.6f}, 1},
      {"presence ignores the prompt", 1, 9, 0, {0}, {}, {3, 1}, 0},
      {"presence counts a token once", 1, 1, 0, {}, {0, 0, 0}, {3, 1.5f}, 0},
      {"frequency counts every time", 1, 0, 1, {}, {0, 0, 0}, {3, 1.5f}, 1},
      {"repetition comes before presence", 2, 1, 0, {}, {0}, {4, 0.9f}, 0},  // 4 / 2 - 1 = 1, not (4 - 1) / 2
  };
  for (const auto& t : cases) {
    Call c{Greedy(), t.prompt, t.generated};
    c.params.repetition_penalty = t.repetition;
    c.params.presence_penalty = t.presence;
    c.params.frequency_penalty = t.frequency;
    EXPECT_EQ(SampleOf(t.logits, c).token, t.token) << t.what;
  }
}

TEST(SampleTest, FiltersKeepWhatTheySay) {
  const std::vector<float> p = Logs({0.1f, 0.4f, 0.2f, 0.3f});
  const std::vector<float> flat(4, 0.f);
  const struct {
    std::string what;
    float temperature, top_p;
    int top_k;
    float min_p;
    std::vector<float> logits;
    Tokens support;
  } cases[] = {
      {"nothing", 1, 1, 0, 0, p, {0, 1, 2, 3}},
      {"top_k 1", 1, 1, 1, 0, p, {1}},
      {"top_k 2", 1, 1, 2, 0, p, {1, 3}},
      {"top_k over the vocabulary", 1, 1, 9, 0, p, {0, 1, 2, 3}},
      {"top_k of a tie takes the lower ids", 1, 1, 2, 0, flat, {0, 1}},
      {"top_p below the first", 1, 0.01f, 0, 0, p, {1}},
      {"top_p needs the second", 1, 0.45f, 0, 0, p, {1, 3}},
      {"top_p needs the third", 1, 0.75f, 0, 0, p, {1, 2, 3}},
      {"top_p of a tie takes the lower ids", 1, 0.5f, 0, 0, flat, {0, 1}},
      {"top_p is of what top_k left", 1, 0.55f, 2, 0, p, {1}},  // 0.4 of 0.7
      {"min_p", 1, 1, 0, 0.6f, p, {1, 3}},
      {"min_p 1 keeps ties of the largest", 1, 1, 0, 1, flat, {0, 1, 2, 3}},
      {"min_p 1", 1, 1, 0, 1, p, {1}},
      {"min_p after top_k", 1, 1, 3, 0.6f, p, {1, 3}},
      {"temperature first: top_p on the sharper row", 0.1f, 0.75f, 0, 0, p, {1}},
      {"tiny temperature is greedy", 1e-30f, 1, 0, 0, p, {1}},
      {"huge temperature is uniform", 1e30f, 1, 0, 0.99f, p, {0, 1, 2, 3}},
      {"-inf is never drawn", 1, 1, 4, 0, {0, -INFINITY, 0, -INFINITY}, {0, 2}},
      {"-inf is never drawn, plain", 1, 1, 0, 0, {-INFINITY, 0, 0, -INFINITY}, {1, 2}},
      {"+inf takes all", 1, 1, 0, 0, {0, INFINITY, 5, INFINITY}, {1, 3}},
  };
  for (const auto& t : cases) {
    Call c;
    c.params.temperature = t.temperature;
    c.params.top_p = t.top_p;
    c.params.top_k = t.top_k;
    c.params.min_p = t.min_p;
    EXPECT_EQ(Support(t.logits, c), t.support) << t.what;
  }
}

// Chi-square of 20000 seeded draws against softmax(logits / T) over the kept tokens; 99.99 % quantiles.
TEST(SampleTest, DrawsFollowTheDistribution) {
  const std::vector<float> p{0.05f, 0.3f, 0.15f, 0.1f, 0.25f, 0.15f};
  constexpr int kDraws = 20000;
  for (int top_k : {0, 6, 3}) {
    Call c;
    c.params.top_k = top_k;
    c.seed = 1234 + top_k;
    const auto count = Draws(Logs(p), c, kDraws);
    double kept = 0, chi = 0;
    for (const auto& [token, n] : count) kept += p[token];
    for (const auto& [token, n] : count) {
      const double want = kDraws * p[token] / kept;
      chi += (n - want) * (n - want) / want;
    }
    EXPECT_EQ(count.size(), top_k == 3 ? 3u : 6u);
    EXPECT_LT(chi, top_k == 3 ? 18.42 : 25.74) << top_k;
  }
}

// Enough tokens that top_p has to widen its short list more than once.
TEST(SampleTest, TopPOfALongFlatRow) {
  std::vector<float> logits(5000, 0.f);
  Call c;
  c.params.top_p = 0.5f;
  int32_t largest = 0;
  for (const auto& [token, n] : Draws(logits, c, 500)) largest = std::max(largest, token);
  EXPECT_LT(largest, 2500);
  EXPECT_GT(largest, 2400);
}

// Against the definition, on a row too long for the short list: sort all, take the shortest prefix of that
// mass.
TEST(SampleTest, TopPIsTheSmallestSet) {
  constexpr int kVocab = 300;
  std::mt19937_64 rng(3);
  std::normal_distribution<float> normal(0, 2);
  std::vector<float> logits(kVocab);
  for (float& x : logits) x = normal(rng);
  for (float top_p : {0.05f, 0.3f, 0.6f, 0.9f}) {
    std::vector<int32_t> order(kVocab);
    double total = 0, mass = 0;
    for (int i = 0; i < kVocab; ++i) order[i] = i, total += std::exp(double{logits[i]});
    std::sort(order.begin(), order.end(), [&](int32_t a, int32_t b) { return logits[a] > logits[b]; });
    size_t count = 0;
    while (mass < top_p * total) mass += std::exp(double{logits[order[count++]]});
    Call c;
    c.params.top_p = top_p;
    const Tokens drawn = Support(logits, c);
    for (int32_t t : drawn) {
      EXPECT_LT(std::find(order.begin(), order.end(), t) - order.begin(), static_cast<ptrdiff_t>(count))
          << top_p;
    }
    if (top_p < 0.5) {  // so few that each comes up in 2000 draws
      EXPECT_EQ(drawn.size(), count) << top_p;
    }
  }
}

TEST(SampleTest, ADrawIsAFunctionOfSeedAndStep) {
  std::vector<float> logits(1000);
  for (int i = 0; i < 1000; ++i) logits[i] = std::sin(static_cast<float>(i));
  Call a, b;
  a.step = b.step = 41;
  EXPECT_EQ(SampleOf(logits, a).token, SampleOf(logits, b).token);
  EXPECT_GT(Draws(logits, a, 100).size(), 50u);
  std::map<int32_t, int> by_seed;
  for (b.seed = 0; b.seed < 100; ++b.seed) ++by_seed[SampleOf(logits, b).token];
  EXPECT_GT(by_seed.size(), 50u);
}

// Log-probabilities speak of the raw logits, whatever was done to draw.
TEST(LogprobTest, AreOfTheRawLogits) {
  const std::vector<float> p = Logs({0.1f, 0.4f, 0.2f, 0.3f});
  Call c{Greedy()};
  c.params.logit_bias = {{0, 100.f}};
  c.params.repetition_penalty = 3;
  c.prompt = {1, 2};
  c.generated = {3, 3};
  c.banned = {1};
  c.top_logprobs = 3;
  const Sampled s = SampleOf(p, c);
  EXPECT_EQ(s.token, 0);
  EXPECT_NEAR(s.logprob, std::log(0.1), 1e-6);
  ASSERT_EQ(s.top.size(), 3u);
  const int32_t order[] = {1, 3, 2};
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(s.top[i].token, order[i]);
    EXPECT_NEAR(s.top[i].logprob, p[order[i]], 1e-6);
  }
}

TEST(LogprobTest, TiesToTheLowerIdAndNeverMoreThanThereAre) {
  Call c{Greedy()};
  c.top_logprobs = 10;
  const Sampled s = SampleOf({1, 2, 2, -INFINITY}, c);
  ASSERT_EQ(s.top.size(), 3u);
  EXPECT_EQ(s.top[0].token, 1);
  EXPECT_EQ(s.top[1].token, 2);
  c.top_logprobs = 0;
  EXPECT_TRUE(SampleOf({1, 2}, c).top.empty());
  EXPECT_LT(SampleOf({1, 2}, c).logprob, 0);
  c.top_logprobs = -1;
  EXPECT_EQ(SampleOf({1, 2}, c).logprob, 0);
}

TEST(ScoreTest, LogSoftmaxOfAToken) {
  const std::vector<float> p = Logs({0.1f, 0.4f, 0.2f, 0.3f});
  const Sampled s = Score(p, 2, 1);
  EXPECT_EQ(s.token, 2);
  EXPECT_NEAR(s.logprob, std::log(0.2), 1e-6);
  ASSERT_EQ(s.top.size(), 1u);
  EXPECT_EQ(s.top[0].token, 1);
  const float bad[] = {0, NAN};
  EXPECT_EQ(Score(bad, 0, 0).token, -1);
  EXPECT_EQ(Score(p, 4, 0).token, -1);
  EXPECT_EQ(Score(p, -1, 0).token, -1);
}

// Numbers that leave a float's range on the way: the seen token with the largest logit is favoured, not any.
TEST(SampleTest, ExtremePenaltiesKeepTheOrder) {
  const struct {
    std::string what;
    float penalty;
    std::vector<float> logits;
    Tokens seen;
    int32_t token;
    bool one_float;  // the seen tokens round to one, so that only a greedy draw tells them apart
  } cases[] = {
      {"quotients above the range", 1e-39f, {2, 5, 7, 9}, {0, 1, 2}, 2, false},
      {"the least there is", 1e-45f, {2, 5, 7, 9}, {0, 1, 2}, 2, false},
      {"beside the largest float", 1e-45f, {3e38f, 3.1e38f, 3.4e38f}, {0, 1}, 1, false},
      {"products below -3e38", 10, {-3e38f, -2e38f, -1e38f}, {0, 1, 2}, 2, false},
      {"products below the range", 1e-45f, {-4, -2.4f, -2, -3}, {0, 1, 2}, 2, true},
      {"products that round to 0", 1e-45f, {-0.3f, -0.2f, -0.1f, -1}, {0, 1, 2}, 2, true},
  };
  struct Way {
    float temperature, top_p;
    int top_k;
    float min_p;
  };
  const Way greedy[] = {{0, 1, 0, 0}, {1, 1, 1, 0}};
  const Way drawn[] = {{1, 1, 0, 0}, {100, 1, 2, 0}, {1e-45f, 0.5f, 0, 0}, {1, 1e-45f, 0, 1}};
  for (const auto& t : cases) {
    std::vector<Way> ways(std::begin(greedy), std::end(greedy));
    if (!t.one_float) ways.insert(ways.end(), std::begin(drawn), std::end(drawn));
    for (const Way& way : ways) {
      Call c{.params = {way.temperature, way.top_p, way.top_k, way.min_p, t.penalty, 0, 0, {}},
             .prompt = t.seen};
      c.top_logprobs = 4;
      const Sampled s = SampleOf(t.logits, c);
      EXPECT_EQ(s.token, t.token) << t.what << " at temperature " << way.temperature;
      EXPECT_TRUE(std::isfinite(s.logprob)) << t.what;
    }
  }
}

TEST(SampleTest, EqualsAboveTheRangeAreDrawnAlike) {
  Call c;
  c.params.repetition_penalty = 1e-45f;
  c.prompt = {1, 2, 3, 4, 5};
  const std::vector<float> logits = {9, 8, 8, 7, 8, 8};
  EXPECT_EQ(Support(logits, c), (Tokens{1, 2, 4, 5}));
  c.params.top_p = 0.5f;
  EXPECT_EQ(Support(logits, c), (Tokens{1, 2}));
  c.params.top_k = 3;
  c.params.min_p = 1;
  EXPECT_EQ(Support(logits, c), (Tokens{1, 2}));
  c.params.top_p = 1;
  EXPECT_EQ(Support(logits, c), (Tokens{1, 2, 4}));
}

// Over everything that the validator lets through, in combination.
TEST(SampleTest, WhateverMayBeAskedForIsTheDefinitions) {
  Choices choices(20260701);
  for (int i = 0; i < 20000; ++i) {
    const SamplingCase c = MakeSamplingCase(choices, 1 + choices.Below(60));
    std::vector<float> logits = c.logits;
    const std::string wrong = WrongWith(Sample(logits, c.row()), c);
    ASSERT_EQ(wrong, "") << i << ": " << Describe(c);
  }
}

TEST(LogprobTest, AreFiniteHoweverFarApart) {
  const std::vector<float> logits = {3e38f, -3e38f, -INFINITY, INFINITY};
  Call c{Greedy()};
  c.banned = {0, 3};
  c.top_logprobs = 4;
  const Sampled s = SampleOf(logits, c);
  EXPECT_EQ(s.token, 1);
  EXPECT_EQ(s.logprob, -std::numeric_limits<float>::max());
  ASSERT_EQ(s.top.size(), 3u);
  EXPECT_EQ(s.top[0].token, 3);
  EXPECT_EQ(s.top[0].logprob, 0);
  EXPECT_EQ(Score(logits, 2, 0).logprob, -std::numeric_limits<float>::max());
  EXPECT_EQ(Score(logits, 3, 0).logprob, 0);
  const std::vector<float> none = {-INFINITY, -INFINITY};
  EXPECT_EQ(Score(none, 0, 0).token, -1);
}

// The passes over a row, on every instruction set.
TEST(RowScanTest, MaximumAndNan) {
  for (simd::Isa isa : Isas()) {
    const simd::Table& t = simd::TableFor(isa);
    for (int n : {1, 5, 16, 17, 100}) {
      std::vector<float> x(n, -7.f);
      x[n - 1] = -6.f;
      EXPECT_EQ(t.max_or_nan(x.data(), n), -6) << n;
      for (int at : {0, n / 2, n - 1}) {
        auto y = x;
        y[at] = NAN;
        EXPECT_TRUE(std::isnan(t.max_or_nan(y.data(), n))) << n << " at " << at;
        y[at] = INFINITY;
        EXPECT_EQ(t.max_or_nan(y.data(), n), INFINITY);
      }
    }
    EXPECT_EQ(t.max_or_nan(nullptr, 0), -INFINITY);
  }
}

}  // namespace
}  // namespace hydrad
