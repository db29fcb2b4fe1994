#include "server/adapters/store/records.h"

#include <gtest/gtest.h>

#include "server/base/invalid_argument.h"
#include "tests/fakes/fake_clock.h"
#include "tests/fakes/fake_log_directory.h"
#include "tests/fakes/manual_executor.h"

namespace hydrad {
namespace {

class RecordsTest : public testing::Test {
 protected:
  std::unique_ptr<Records> Open() {
    return std::make_unique<Records>(*Journal::Open(std::make_unique<FakeLogDirectory>(directory_)),
                                     executor_);
  }
  static bool Known(const Records& records, const std::string& id, const std::string& what) {
    const auto answered = records.Find(id, what);
    EXPECT_TRUE(answered.ok()) << answered.status();
    return answered.ok() && answered->has_value();
  }

  FakeLogDirectory directory_;
  std::shared_ptr<ManualExecutor::Jobs> jobs_ = std::make_shared<ManualExecutor::Jobs>();
  ManualExecutor executor_{jobs_};
};

TEST_F(RecordsTest, AnswersAreFoundByTheirId) {
  const auto records = Open();
  EXPECT_FALSE(Known(*records, "id", "pin a"));
  ASSERT_TRUE(records->Record({}, {"id", "pin a", "a", 7}).ok());
  EXPECT_TRUE(Known(*records, "id", "pin a"));
  EXPECT_EQ((*records->Find("id", "pin a"))->generation, 7u);
  EXPECT_EQ(records->Find("id", "unpin a").status(),
            InvalidArgument("request_id: 'id' was used for another change"));
}

TEST_F(RecordsTest, WithoutAnIdNothingIsRemembered) {
  const auto records = Open();
  ASSERT_TRUE(records->Record({}, {"", "pin a", "a", 7}).ok());
  EXPECT_FALSE(Known(*records, "", "pin a"));
}

TEST_F(RecordsTest, SurvivesARestart) {
  AdapterInfo info;
  info.name = "a";
  ASSERT_TRUE(Open()->Record({.wanted = info}, {"id", "load a", "a", 1}).ok());
  const auto records = Open();
  EXPECT_TRUE(records->opened()->adapters.contains("a"));
  EXPECT_TRUE(Known(*records, "id", "load a"));
}

TEST_F(RecordsTest, WhatCannotBeWrittenIsNoAnswer) {
  const auto records = Open();
  directory_.state().fail_call = directory_.state().calls + 1;
  EXPECT_EQ(records->Record({}, {"id", "pin a", "a", 7}).code(), absl::StatusCode::kInternal);
  EXPECT_FALSE(Known(*records, "id", "pin a"));
}

TEST_F(RecordsTest, ChangesWaitForTheDiskOnTheExecutor) {
  bool ran = false;
  Open()->Run([&] { ran = true; });
  EXPECT_FALSE(ran);
  ASSERT_EQ(jobs_->size(), 1u);
  ManualExecutor::Run(*jobs_, 0);
  EXPECT_TRUE(ran);
}

TEST_F(RecordsTest, WithoutAJournalNothingWaits) {
  Records records(nullptr, executor_);
  EXPECT_EQ(records.opened(), nullptr);
  bool ran = false;
  records.Run([&] { ran = true; });
  EXPECT_TRUE(ran);
  ASSERT_TRUE(records.Record({}, {"id", "pin a", "a", 7}).ok());
  EXPECT_TRUE(Known(records, "id", "pin a"));
}

TEST_F(RecordsTest, AnAnswerTellsHowTheAdapterStandsNow) {
  const FakeClock clock;
  StoreState state({}, /*layers=*/1, clock);
  Records records(nullptr, executor_);
  EXPECT_FALSE(AnsweredBefore(records, state, "id", "load a", "a"));
  ASSERT_TRUE(records.Record({}, {"id", "load a", "a", 7}).ok());
  const auto gone = AnsweredBefore(records, state, "id", "load a", "a");
  ASSERT_TRUE(gone && gone->ok());
  EXPECT_EQ((*gone)->state, AdapterState::kUnloaded);
  EXPECT_EQ((*gone)->generation, 7u);
  {
    MutexLock lock(&state.mu);
    state.catalogue.BeginLoad("a", "path");
  }
  EXPECT_EQ((**AnsweredBefore(records, state, "id", "load a", "a")).state, AdapterState::kLoading);
  EXPECT_FALSE(AnsweredBefore(records, state, "id", "load b", "b")->ok());
}

}  // namespace
}  // namespace hydrad
