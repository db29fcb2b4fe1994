// Draws on the device against kernels/sampling.h, with the same seeds: the same tokens, the same
// log-probabilities.
#include "kernels/sampling.h"

#include <cmath>
#include <limits>

#include "tests/kernels/cuda/cuda_cases.h"
#include "tests/kernels/sampling_cases.h"

namespace hydrad {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();

// One row to draw from, with the history that its penalties look at.
struct Draw {
  SamplingParams params;
  std::vector<int32_t> prompt, generated, banned;
  uint64_t seed = 1, step = 0;
  int top = 5;
  std::vector<uint32_t> allowed;

  SampleRow row() const { return {&params, prompt, generated, banned, seed, step, top, allowed}; }
};

class CudaSamplingTest : public CudaTest {
 protected:
  // Draws from row i of logits with draws[i].
  std::vector<Sampled> Got(const Matrix<float>& logits, const std::vector<Draw>& draws, int max_top = 8) {
    std::vector<cuda::SampleRow> rows;
    std::vector<cuda::SampleEdit> edits;
    std::vector<std::vector<uint32_t>> masks;
    for (size_t i = 0; i < draws.size(); ++i) {
      rows.push_back(cuda::PlanSample(draws[i].row(), static_cast<int>(i), logits.view().cols, &edits));
      masks.push_back(draws[i].allowed);
    }
    return Run(logits, rows, edits, max_top, masks);
  }
  // masks[i], where there are any, is row i's; empty: all tokens are allowed.
  std::vector<Sampled> Run(const Matrix<float>& logits, std::vector<cuda::SampleRow> rows,
                           const std::vector<cuda::SampleEdit>& edits, int max_top,
                           const std::vector<std::vector<uint32_t>>& masks = {}) {
    std::vector<uint32_t> words{0};
    for (const auto& mask : masks) words.insert(words.end(), mask.begin(), mask.end());
    const OnDevice<uint32_t> device_words(words);
    const uint32_t* next = device_words.data() + 1;
    for (size_t i = 0; i < masks.size(); next += masks[i++].size()) {
      if (!masks[i].empty()) rows[i].allowed = next;
    }
    const DeviceMatrix<float> values(logits);
    const OnDevice<cuda::SampleRow> row_list(rows);
    const OnDevice<cuda::SampleEdit> edit_list(edits);
    const OnDevice<cuda::SampleResult> results(rows.size());
    const OnDevice<TokenLogprob> tops(rows.size() * max_top);
    Check(cuda::Sample(values, row_list.data(), static_cast<int>(rows.size()), edit_list.data(),
                       results.data(), tops.data(), max_top, stream_));
    Finish();
    ExpectSame(values.Read().view(), logits.view(), "logits afterwards");
    std::vector<Sampled> sampled;
    const std::vector<cuda::SampleResult> got = results.Read();
    const std::vector<TokenLogprob> listed = tops.Read();
    for (size_t i = 0; i < rows.size(); ++i) {
      const auto first = listed.begin() + static_cast<ptrdiff_t>(i * max_top);
      sampled.push_back({got[i].token, got[i].logprob, {first, first + got[i].top_count}});
    }
    return sampled;
  }
  void ExpectSampled(const Sampled& got, const Sampled& want, const std::string& what) {
    EXPECT_EQ(got.token, want.token) << what;
    // The log of a sum of exponentials, each to 3 units, and a rounding of the result.
    const auto near = [](float a, float b) { return std::fabs(a - b) <= 1e-6 + 2 * kUnit * std::fabs(b); };
    EXPECT_TRUE(near(got.logprob, want.logprob)) << what << ": " << got.logprob << ", not " << want.logprob;
    ASSERT_EQ(got.top.size(), want.top.size()) << what;
    for (size_t i = 0; i < want.top.size(); ++i) {
      EXPECT_EQ(got.top[i].token, want.top[i].token) << what << " top " << i;
      EXPECT_TRUE(near(got.top[i].logprob, want.top[i].logprob)) << what << " top " << i;
    }
  }
  void ExpectReference(const Matrix<float>& logits, const std::vector<Draw>& draws, const std::string& what) {
    const std::vector<Sampled> got = Got(logits, draws);
    for (size_t i = 0; i < draws.size(); ++i) {
      std::vector<float> row(logits.view().row(i), logits.view().row(i) + logits.view().cols);
      ExpectSampled(got[i], Sample(row, draws[i].row()), what + " row " + std::to_string(i));
    }
  }
};

const SamplingParams kParams[] = {
    {},
    {.temperature = 0},
    {.temperature = 0.7f, .top_k = 1},
    {.temperature = 0.7f, .top_k = 40},
    {.temperature = 1.5f, .top_p = 0.9f, .top_k = 300},
    {.temperature = 1, .top_p = 0.3f},
    {.temperature = 0.2f, .top_p = 0.95f, .min_p = 0.02f},
    {.temperature = 2, .min_p = 0.1f},
    {.temperature = 1, .top_p = 0.5f, .top_k = 100000, .min_p = 0.01f},
    {.temperature = 1, .top_p = 1e-6f},
    {.temperature = 1, .top_p = 1e-6f, .top_k = 7},
    {.temperature = 1, .min_p = 1},
};

TEST_F(CudaSamplingTest, DrawsTheReferencesTokens) {
  for (const int vocab : {1, 33, 1000, 5003}) {
    std::vector<Draw> draws;
    for (const SamplingParams& p : kParams) {
      for (uint64_t seed : {3, 71})
        draws.push_back({.params = p, .seed = seed, .step = seed * 5, .top = seed == 3 ? 4 : 0});
    }
    const auto logits = Matrix<float>::Random(static_cast<int>(draws.size()), vocab, vocab, 3, 5);
    ExpectReference(logits, draws, "vocab " + std::to_string(vocab));
  }
}

// Logits that tie: multiples of a half, so that every set is decided by ids.
TEST_F(CudaSamplingTest, TiesGoToLowerIds) {
  std::vector<Draw> draws;
  for (const SamplingParams& p : kParams) draws.push_back({.params = p, .seed = 9});
  auto logits = Matrix<float>::Random(static_cast<int>(draws.size()), 700, 1, 1);
  for (int r = 0; r < logits.view().rows; ++r) {
    for (int c = 0; c < 700; ++c) logits.view().row(r)[c] = std::round(2 * logits.view().row(r)[c]) / 2;
  }
  ExpectReference(logits, draws, "ties");
  Matrix<float> equal(static_cast<int>(draws.size()), 100);
  ExpectReference(equal, draws, "all equal");
}

TEST_F(CudaSamplingTest, EditsAreTheReferences) {
  std::vector<Draw> draws;
  for (const float temperature : {0.f, 1.f}) {
    Draw d{.params = {.temperature = temperature,
                      .repetition_penalty = 1.3f,
                      .presence_penalty = 0.5f,
                      .frequency_penalty = 0.25f,
                      .logit_bias = {{3, 2.5f}, {9, -1}, {3, 0.1f}, {-1, 5}, {5000, 5}}},
           .prompt = {1, 2, 3, 3, 50},
           .generated = {3, 7, 7, 7, 99},
           .banned = {8, 9, 9}};
    draws.push_back(d);
    d.params.repetition_penalty = 1, d.params.logit_bias.clear();
    draws.push_back(d);
    d.banned.clear();
    for (int t = 0; t < 100; ++t) d.banned.push_back(t);  // nothing is left
    draws.push_back(d);
    d.banned.resize(99);
    draws.push_back(d);
  }
  ExpectReference(Matrix<float>::Random(static_cast<int>(draws.size()), 100, 4, 2), draws, "edits");
}

// Every way to draw, from masks of one token, of every third, of all but one, and of none.
TEST_F(CudaSamplingTest, MasksAreTheReferences) {
  constexpr int kVocab = 5003;
  std::vector<Draw> draws;
  for (const SamplingParams& p : kParams) {
    for (const int kind : {0, 1, 2, 3}) {
      std::vector<uint32_t> mask(MaskWords(kVocab));
      for (int t = 0; t < kVocab; ++t) {
        const bool in = kind == 0 ? t == 4999 : kind == 1 ? t % 3 == 0 : kind == 2 ? t != 17 : false;
        if (in) mask[static_cast<size_t>(t) / 32] |= uint32_t{1} << (t % 32);
      }
      draws.push_back({.params = p, .generated = {3, 17, 4999}, .banned = {6}, .seed = 5, .allowed = mask});
      draws.back().params.presence_penalty = 0.5f;
      draws.back().params.logit_bias = {{17, 50}, {3, 2}};
    }
  }
  ExpectReference(Matrix<float>::Random(static_cast<int>(draws.size()), kVocab, 12, 3), draws, "masks");
}

TEST_F(CudaSamplingTest, NanAndInfinityAreTheReferences) {
  auto logits = Matrix<float>::Random(6, 90, 2);
  logits.view().row(0)[89] = NAN;
  for (int c = 0; c < 90; ++c) logits.view().row(1)[c] = -kInf;
  logits.view().row(2)[40] = kInf;
  logits.view().row(3)[40] = logits.view().row(3)[41] = kInf;
  for (int c = 1; c < 90; ++c) logits.view().row(4)[c] = -kInf;
  logits.view().row(5)[0] = -kInf;
  std::vector<Draw> draws(6);
  draws[3].params.top_k = 5;
  draws[5].params.top_p = 0.5f;
  ExpectReference(logits, draws, "not finite");
}

// Over everything that the validator lets through, in combination; vocabularies of one warp and of several.
TEST_F(CudaSamplingTest, WhateverMayBeAskedForIsTheDefinitions) {
  Choices choices(20260702);
  for (const int vocab : {1, 7, 40, 150}) {
    std::vector<SamplingCase> cases;
    Matrix<float> logits(80, vocab);
    std::vector<cuda::SampleRow> rows;
    std::vector<cuda::SampleEdit> edits;
    std::vector<std::vector<uint32_t>> masks;
    for (int i = 0; i < logits.view().rows; ++i) {
      cases.push_back(MakeSamplingCase(choices, vocab));
      std::copy(cases[i].logits.begin(), cases[i].logits.end(), logits.view().row(i));
      rows.push_back(cuda::PlanSample(cases[i].row(), i, vocab, &edits));
      masks.push_back(cases[i].allowed);
    }
    const std::vector<Sampled> got = Run(logits, rows, edits, 150, masks);
    for (size_t i = 0; i < cases.size(); ++i)
      EXPECT_EQ(WrongWith(got[i], cases[i]), "") << i << ": " << Describe(cases[i]);
  }
}

TEST_F(CudaSamplingTest, ScoresAreTheReferences) {
  auto logits = Matrix<float>::Random(4, 3000, 2, 4);
  logits.view().row(2)[7] = NAN;
  logits.view().row(3)[7] = kInf;
  std::vector<cuda::SampleRow> rows;
  const int tokens[] = {17, 2999, 5, 5};
  for (int i = 0; i < 4; ++i) rows.push_back({.row = i, .scored = tokens[i], .temperature = 1, .top = 6});
  const std::vector<Sampled> got = Run(logits, rows, {}, 6);
  for (int i = 0; i < 4; ++i) {
    ExpectSampled(got[i], Score({logits.view().row(i), 3000}, tokens[i], 6), "score " + std::to_string(i));
  }
}

TEST_F(CudaSamplingTest, RowsAreSkippedAndLimitsHeld) {
  const auto logits = Matrix<float>::Random(2, 2000, 2);
  const OnDevice<cuda::SampleResult> results(std::vector<cuda::SampleResult>{{77, 0, 0}});
  const OnDevice<cuda::SampleRow> rows(std::vector<cuda::SampleRow>{{.row = -1}});
  const DeviceMatrix<float> values(logits);
  Check(cuda::Sample(values, rows.data(), 1, nullptr, results.data(), nullptr, 0, stream_));
  Finish();
  EXPECT_EQ(results.Read()[0].token, 77);
  EXPECT_EQ(cuda::Sample(values, rows.data(), 1, nullptr, results.data(), nullptr, cuda::kSampleMaxTop + 1,
                         stream_),
            cudaErrorInvalidValue);
  EXPECT_EQ(cuda::Sample(values, rows.data(), 0, nullptr, results.data(), nullptr, 0, stream_), cudaSuccess);
  // The longest list there is.
  std::vector<cuda::SampleRow> scored{{.row = 1, .scored = 3, .temperature = 1, .top = cuda::kSampleMaxTop}};
  const Sampled got = Run(logits, scored, {}, cuda::kSampleMaxTop)[0];
  ExpectSampled(got, Score({logits.view().row(1), 2000}, 3, cuda::kSampleMaxTop), "long list");
}

}  // namespace
}  // namespace hydrad
