#include "server/model/transformer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "server/backend/cpu/cpu_backend.h"
#include "tests/model/stepper.h"

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

// Four rows' logits wait; those of rows 0, 1 and 3 are drawn from.
TEST_F(TransformerTest, SamplesTheRowsThatAreAskedFor) {
  const auto model = Load(kLlama, {});
  BlockPool pool(4);
  TestSequence sequence{.tokens = {5, 6, 7, 8}};
  const Chunk all{&sequence, 4};
  const auto logits = RunStep(*model, pool, {&all, 1});
  SamplingParams greedy;
  greedy.temperature = 0;
  const SampleRow row{.params = &greedy,
                      .prompt = {},
                      .generated = {},
                      .banned = {},
                      .seed = 0,
                      .step = 0,
                      .top_logprobs = 0};
  const std::vector<SampleRow> rows(3, row);
  std::vector<Sampled> drawn(3);
  const int indices[] = {0, 1, 3};
  model->Sample(indices, rows, drawn);
  for (int i = 0; i < 3; ++i) {
    const auto& values = logits[indices[i]];
    EXPECT_EQ(drawn[i].token, std::max_element(values.begin(), values.end()) - values.begin()) << i;
  }
}

TEST_F(TransformerTest, ScoresUnderTheRawLogits) {
  const auto model = Load(kLlama, {});
  BlockPool pool(4);
  TestSequence sequence{.tokens = {5, 6}};
  const Chunk all{&sequence, 2};
  const auto logits = RunStep(*model, pool, {&all, 1});
  const Sampled score = model->Score(0, 17, 3);
  const Sampled expected = Score(std::span<const float>(logits[0]), 17, 3);
  EXPECT_EQ(score.token, 17);
  EXPECT_EQ(score.logprob, expected.logprob);
  EXPECT_EQ(score.top.size(), 3);
}

TEST_F(TransformerTest, TakesAStepThatWantsNoLogits) {
  const auto model = Load(kLlama, {});
  Batch batch = OneRow();
  batch.logit_rows.clear();
  model->Forward(batch);
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
  model->Forward(OneRow());
  for (const auto fault : faults) {
    Batch batch = OneRow();
    fault(batch);
    EXPECT_DEATH(model->Forward(batch), "check failed");
  }
}

}  // namespace
}  // namespace hydrad
