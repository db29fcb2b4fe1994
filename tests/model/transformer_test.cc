#include "server/model/transformer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "server/backend/cpu/cpu_backend.h"
#include "server/base/check.h"

namespace hydrad {
namespace {

using ::testing::HasSubstr;

constexpr const char* kLlama = "tests/golden/models/llama";
constexpr const char* kWindowed = "tests/golden/models/mistral_window";

class TransformerTest : public ::testing::Test {
 protected:
  std::unique_ptr<Transformer> Load(const std::string& dir, ModelLimits limits) {
    auto model = LoadTransformer(dir, *backend_, limits);
    HYDRAD_CHECK(model.ok());
    return *std::move(model);
  }
  std::string LoadError(const std::string& dir, ModelLimits limits) {
    return std::string(LoadTransformer(dir, *backend_, limits).status().message());
  }
  std::unique_ptr<Backend> backend_ = MakeCpuBackend({.threads = 1});
};

Batch OneRow() {
  Batch batch;
  batch.tokens = {1};
  batch.positions = {0};
  batch.slots = {0};
  batch.segments = {{0, 1, 0, 0}};
  batch.block_tables = {0};
  batch.logit_rows = {0};
  return batch;
}

TEST_F(TransformerTest, FillsInZeroLimits) {
  const auto model = Load(kLlama, {.max_context = 0, .block_size = 16, .kv_blocks = 0});
  EXPECT_EQ(model->limits().max_context, model->config().max_positions);
  EXPECT_EQ(model->limits().kv_blocks, (model->config().max_positions + 15) / 16);
}

TEST_F(TransformerTest, ServesASlidingWindowOnlyAsFarAsItHidesNothing) {
  EXPECT_EQ(Load(kWindowed, {})->limits().max_context, 8);
  EXPECT_EQ(Load(kWindowed, {.max_context = 5})->limits().max_context, 5);
  EXPECT_THAT(LoadError(kWindowed, {.max_context = 9}), HasSubstr("config.json: sliding_window 8"));
}

TEST_F(TransformerTest, RefusesLimitsThatCannotBe) {
  EXPECT_THAT(LoadError(kLlama, {.max_context = 1 << 20}), HasSubstr("max_position_embeddings"));
  EXPECT_THAT(LoadError(kLlama, {.max_rows = 0}), HasSubstr("at least 1"));
  EXPECT_THAT(LoadError(kLlama, {.kv_blocks = -1}), HasSubstr("KV blocks"));
  EXPECT_THAT(LoadError(kLlama, {.kv_blocks = INT32_MAX}), HasSubstr("KV blocks"));
}

TEST_F(TransformerTest, SaysNotFoundWithoutAModel) {
  EXPECT_EQ(LoadTransformer("tests/golden/models/none", *backend_, {}).status().code(),
            absl::StatusCode::kNotFound);
}

TEST_F(TransformerTest, CountsTheBytesOfABlock) {
  ModelConfig config;
  config.num_layers = 30, config.num_kv_heads = 3, config.head_dim = 64;
  EXPECT_EQ(KvBlockBytes(config, {.block_size = 16}, DType::kBf16), 2 * 30 * 3 * 64 * 16 * 2);
  EXPECT_EQ(KvBlockBytes(config, {.block_size = 16}, DType::kF32), 2 * 30 * 3 * 64 * 16 * 4);
}

// The prompt of one sequence, whose logits are all wanted.
Batch Rows(const std::vector<int32_t>& tokens) {
  Batch batch = OneRow();
  batch.tokens = tokens;
  batch.positions.resize(tokens.size());
  std::iota(batch.positions.begin(), batch.positions.end(), 0);
  batch.slots = batch.logit_rows = batch.positions;
  batch.segments = {{0, batch.rows(), 0, 0}};
  return batch;
}

// Of four rows with logits those of rows 0, 1 and 3 are drawn from.
TEST_F(TransformerTest, SamplesTheRowsThatAreAskedFor) {
  const auto model = Load(kLlama, {});
  const Batch batch = Rows({5, 6, 7, 8});
  ASSERT_TRUE(model->Launch(batch, {}, {}).Wait().ok());
  std::vector<int32_t> largest;
  for (int i = 0; i < 4; ++i) {
    const auto values = model->Logits(i);
    largest.push_back(static_cast<int32_t>(std::ranges::max_element(values) - values.begin()));
  }
  SamplingParams greedy;
  greedy.temperature = 0;
  std::vector<Draw> draws;
  for (const int32_t index : {0, 1, 3}) {
    draws.push_back({index,
                     {.params = &greedy,
                      .prompt = {},
                      .generated = {},
                      .banned = {},
                      .seed = 0,
                      .step = 0,
                      .top_logprobs = 0}});
  }
  const auto result = model->Launch(batch, draws, {}).Wait();
  ASSERT_TRUE(result.ok()) << result.status();
  ASSERT_EQ(result->sampled.size(), 3);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(result->sampled[i].token, largest[draws[i].index]) << i;
}

TEST_F(TransformerTest, ScoresUnderTheRawLogits) {
  const auto model = Load(kLlama, {});
  const Batch batch = Rows({5, 6});
  const ScoreRow row{.index = 0, .token = 17, .top = 3};
  const auto result = model->Launch(batch, {}, {&row, 1}).Wait();
  ASSERT_TRUE(result.ok()) << result.status();
  const Sampled expected = Score(model->Logits(0), 17, 3);
  ASSERT_EQ(result->scores.size(), 1);
  EXPECT_EQ(result->scores[0].token, 17);
  EXPECT_EQ(result->scores[0].logprob, expected.logprob);
  EXPECT_EQ(result->scores[0].top.size(), 3);
}

TEST_F(TransformerTest, TakesAStepThatWantsNoLogits) {
  const auto model = Load(kLlama, {});
  Batch batch = OneRow();
  batch.logit_rows.clear();
  EXPECT_TRUE(model->Launch(batch, {}, {}).Wait().ok());
}

using TransformerDeathTest = TransformerTest;

// Every one of these would read or write what belongs to somebody else.
TEST_F(TransformerDeathTest, StopsOnABatchBeyondTheLimits) {
  const auto model =
      Load(kLlama, {.max_rows = 2, .max_logit_rows = 1, .max_context = 8, .block_size = 4, .kv_blocks = 3});
  const std::vector<void (*)(Batch&)> faults = {
      [](Batch& b) { b.tokens.clear(); },    [](Batch& b) { b.tokens.resize(3); },
      [](Batch& b) { b.positions.clear(); }, [](Batch& b) { b.slots.push_back(0); },
      [](Batch& b) { b.tokens = {-1}; },     [](Batch& b) { b.tokens = {1 << 20}; },
      [](Batch& b) { b.positions = {8}; },   [](Batch& b) { b.slots = {12}; },
      [](Batch& b) { b.slots = {-1}; },      [](Batch& b) { b.block_tables = {3}; },
      [](Batch& b) { b.logit_rows = {1}; },  [](Batch& b) { b.logit_rows = {0, 0}; },
  };
  EXPECT_TRUE(model->Launch(OneRow(), {}, {}).Wait().ok());
  for (const auto fault : faults) {
    Batch batch = OneRow();
    fault(batch);
    EXPECT_DEATH(static_cast<void>(model->Launch(batch, {}, {})), "check failed");
  }
}

}  // namespace
}  // namespace hydrad
