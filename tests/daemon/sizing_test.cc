#include "server/sizing.h"

#include <fmt/core.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "server/model/transformer.h"

namespace hydrad {
namespace {

using testing::HasSubstr;

class SizingTest : public testing::Test {
 protected:
  SizingTest() {
    model_.num_layers = 2;
    model_.num_heads = model_.num_kv_heads = 4;
    model_.head_dim = 8;
    model_.hidden_size = 32;
    model_.max_positions = 100;
    config_.max_running = 3;
    config_.prefill_chunk = 20;
    const ModelLimits limits;
    block_bytes_ = KvBlockBytes(model_, limits, DType::kBf16);
  }
  absl::StatusOr<ModelLimits> Size(bool budgeted = false) const {
    return SizeModel(config_, model_, DType::kBf16, budgeted);
  }

  Config config_;
  ModelConfig model_;
  uint64_t block_bytes_;
};

TEST_F(SizingTest, ByDefaultEveryRunningSequenceFits) {
  const auto limits = Size();
  ASSERT_TRUE(limits.ok()) << limits.status();
  EXPECT_EQ(limits->max_context, 100);
  EXPECT_EQ(limits->max_rows, 23);
  EXPECT_EQ(limits->max_logit_rows, 3);
  EXPECT_EQ(limits->kv_blocks, 3 * 7);  // 7 blocks of 16 for 100 positions
}

TEST_F(SizingTest, ABlockTakesWhatItsNumbersTake) {
  EXPECT_EQ(block_bytes_, 2u * 2 * (4 * 8) * 16 * 2);  // keys and values, layers, head rows, positions, bf16
  EXPECT_EQ(KvBlockBytes(model_, ModelLimits(), DType::kF32), 2 * block_bytes_);
}

TEST_F(SizingTest, AWindowedModelIsServedUpToItsWindow) {
  model_.sliding_window = 40;
  ASSERT_TRUE(Size().ok()) << Size().status();
  EXPECT_EQ(Size()->max_context, 40);
  config_.max_context = 41;
  EXPECT_THAT(std::string(Size().status().message()), HasSubstr("sliding window"));
  config_.max_context = 40;
  EXPECT_EQ(Size()->max_context, 40);
}

TEST_F(SizingTest, AStepHasRoomForAPromptThatMustNotBeSplit) {
  config_.unsplit_prompt = 50;
  EXPECT_EQ(Size()->max_rows, 53);
  config_.unsplit_prompt = 10;
  EXPECT_EQ(Size()->max_rows, 23);
}

TEST_F(SizingTest, TheDefaultIsBounded) {
  config_.max_running = 1'000'000'000 / 7;
  const auto limits = Size();
  ASSERT_TRUE(limits.ok()) << limits.status();
  EXPECT_EQ(limits->kv_blocks, static_cast<int>(kDefaultKvCacheMemory / block_bytes_));
}

TEST_F(SizingTest, ADeviceWithABudgetBoundsItself) {
  config_.max_running = 100'000;
  model_.max_positions = 10'000;
  const auto limits = Size(/*budgeted=*/true);
  ASSERT_TRUE(limits.ok()) << limits.status();
  EXPECT_EQ(limits->kv_blocks, 100'000 * 625);
  EXPECT_EQ(limits->min_kv_blocks, 625);
  config_.kv_cache_memory = 625 * block_bytes_;  // what is asked for is not made smaller
  EXPECT_EQ(Size(true)->kv_blocks, 625);
  EXPECT_EQ(Size(true)->min_kv_blocks, 0);
}

TEST_F(SizingTest, OneFullSequenceAlwaysFits) {
  model_.max_positions = 100'000'000;
  const auto limits = Size();
  ASSERT_TRUE(limits.ok()) << limits.status();
  EXPECT_EQ(limits->kv_blocks, 100'000'000 / 16);
  EXPECT_GT(limits->kv_blocks * block_bytes_, kDefaultKvCacheMemory);
}

TEST_F(SizingTest, MemoryIsTakenAsGiven) {
  config_.kv_cache_memory = 9 * block_bytes_ + 1;
  EXPECT_EQ(Size()->kv_blocks, 9);
  config_.kv_cache_memory = 6 * block_bytes_;
  EXPECT_EQ(Size().status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(Size().status().message()),
              HasSubstr(fmt::format("at least {} bytes", 7 * block_bytes_)));
}

TEST_F(SizingTest, AShorterContextNeedsLess) {
  config_.max_context = 32;
  EXPECT_EQ(Size()->max_context, 32);
  EXPECT_EQ(Size()->kv_blocks, 3 * 2);
  config_.max_context = 101;
  EXPECT_THAT(std::string(Size().status().message()), HasSubstr("--max-context 101"));
}

}  // namespace
}  // namespace hydrad
