#include "server/scheduler/self_test.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <prometheus/collectable.h>
#include <prometheus/text_serializer.h>

#include <set>

#include "tests/scheduler/rig.h"

namespace hydrad {
namespace {

using testing::HasSubstr;

constexpr ModelLimits kSmall{
    .max_rows = 16, .max_logit_rows = 8, .max_context = 64, .block_size = 4, .kv_blocks = 24};

class SelfTestTest : public testing::Test {
 protected:
  // `poison`: rows that see this token get NaN for logits.
  void Start(int32_t poison = -1, const SchedulerOptions& options = {}) {
    FakeModel::Options model = ModelOptions(kSmall);
    model.poison = poison;
    model_ = std::make_unique<FakeModel>(model);
    vocab_size_ = model.vocab_size;
    scheduler_ =
        std::make_unique<Scheduler>(options, *model_, *world_.tokenizer, world_.clock, world_.metrics);
    test_ = std::make_unique<SelfTest>(*scheduler_, vocab_size_, kSmall.max_context);
  }
  std::shared_ptr<AdapterGeneration> Plain() {
    return std::make_shared<AdapterGeneration>(
        AdapterGeneration{.name = "a", .device = std::make_shared<FakeAdapter>(7)});
  }

  RigWorld world_;
  std::unique_ptr<FakeModel> model_;
  int vocab_size_ = 0;
  std::unique_ptr<Scheduler> scheduler_;
  std::unique_ptr<SelfTest> test_;
};

TEST_F(SelfTestTest, FiniteLogitsPass) {
  Start();
  EXPECT_EQ(test_->Base(), absl::OkStatus());
  EXPECT_EQ(test_->Adapter(Plain()), absl::OkStatus());
  EXPECT_EQ(model_->steps(), 2) << "one pass each";
}

TEST_F(SelfTestTest, ABaseModelThatGivesNaNIsDataLoss) {
  Start(/*poison=*/ModelOptions(kSmall).vocab_size * 7 / 8);  // the last token of the test
  EXPECT_TRUE(absl::IsDataLoss(test_->Base()));
}

TEST_F(SelfTestTest, AnAdapterThatGivesNaNIsRefused) {
  Start(/*poison=*/token::kA);
  EXPECT_EQ(test_->Base(), absl::OkStatus());
  const auto bad = Plain();
  bad->invocation = {token::kA};  // what an aLoRA begins at is part of its test
  const absl::Status refused = test_->Adapter(bad);
  EXPECT_TRUE(absl::IsInvalidArgument(refused));
  EXPECT_THAT(std::string(refused.message()), HasSubstr("not finite"));
  EXPECT_EQ(test_->Adapter(Plain()), absl::OkStatus());
}

TEST_F(SelfTestTest, EveryExpertOfAMixtureRuns) {
  Start();
  std::set<int32_t> ran;  // slots
  model_->on_forward = [&](const Batch& batch) {
    for (const Batch::Run& run : batch.runs) ran.insert(run.adapter);
  };
  const Mixture& mixture = world_.mixture(RigWorld::kLastMoa);
  auto whole = std::make_shared<AdapterGeneration>();
  whole->mixture = std::shared_ptr<const Mixture>(&mixture, [](const Mixture*) {});
  EXPECT_EQ(test_->Adapter(whole), absl::OkStatus());
  for (const auto& expert : mixture.experts()) EXPECT_TRUE(ran.contains(expert->adapter->slot()));
}

TEST_F(SelfTestTest, AFullQueueIsNoHindrance) {
  Start(-1, {.max_waiting = 0});
  EXPECT_EQ(test_->Base(), absl::OkStatus());
}

TEST_F(SelfTestTest, EndsWithTheScheduler) {
  Start();
  scheduler_->Drain(Duration::zero());
  EXPECT_TRUE(absl::IsUnavailable(test_->Base()));
  test_->Close();
  scheduler_.reset();
  EXPECT_TRUE(absl::IsUnavailable(test_->Adapter(Plain())));
}

TEST_F(SelfTestTest, CountsInNoMetric) {
  Start();
  EXPECT_EQ(test_->Adapter(Plain()), absl::OkStatus());
  scheduler_.reset();
  const std::string series = prometheus::TextSerializer().Serialize(world_.metrics.collectable()->Collect());
  EXPECT_THAT(series, testing::Not(HasSubstr("hydrad_requests_total{")));
}

}  // namespace
}  // namespace hydrad
