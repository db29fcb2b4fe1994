// An unload that has begun: asked again, forced, asked again by a client that went away.
#include <gtest/gtest.h>

#include <optional>

#include "server/adapters/store/journal.h"
#include "tests/adapters/store/store_fixture.h"
#include "tests/fakes/fake_log_directory.h"
#include "tests/fakes/manual_executor.h"

namespace hydrad {
namespace {

class StoreUnloadTest : public StoreFixture {
 protected:
  StoreUnloadTest() {
    EXPECT_TRUE(Load(*store_, "a", "one").ok());
    running_ = Bound(*store_, "a");
  }
  void Unload(Pending& pending, ChangeOptions options = {}) {
    store_->Unload("a", pending.done(), std::move(options));
  }

  const std::unique_ptr<AdapterStore> store_ = MakeStore();
  std::optional<AdapterHandle> running_;
};

TEST_F(StoreUnloadTest, TheSameAgainJoinsIt) {
  Pending first, second, third;
  Unload(first);
  Unload(second);
  Unload(third, {.digest = "sha256:other"});
  EXPECT_EQ(third.Wait().status().code(), absl::StatusCode::kAborted) << "of another etag";
  EXPECT_FALSE(first.ready() || second.ready());
  EXPECT_TRUE(running_->status().ok()) << "nobody asked for force";
  running_.reset();
  EXPECT_EQ(first.Wait()->state, AdapterState::kUnloaded);
  EXPECT_EQ(second.Wait()->state, AdapterState::kUnloaded);
  EXPECT_EQ(store_->Get("a").status().code(), absl::StatusCode::kNotFound);
}

TEST_F(StoreUnloadTest, ForceCountsForTheOneUnderWay) {
  Pending first, forced;
  Unload(first);
  Unload(forced, {.force = true});
  EXPECT_EQ(running_->status().code(), absl::StatusCode::kAborted);
  EXPECT_EQ(running_->status().message(), "adapter 'a' was unloaded");
  running_.reset();
  EXPECT_TRUE(first.Wait().ok());
  EXPECT_TRUE(forced.Wait().ok());
}

TEST_F(StoreUnloadTest, AClientThatAsksAgainUnderItsIdGetsTheSameEnd) {
  Pending first, again, later;
  Unload(first, {.request_id = "r"});
  Unload(again, {.request_id = "r"});
  EXPECT_FALSE(again.ready()) << "it has not ended";
  running_.reset();
  EXPECT_TRUE(first.Wait().ok());
  EXPECT_EQ(again.Wait()->state, AdapterState::kUnloaded);
  Unload(later, {.request_id = "r"});
  EXPECT_EQ(later.Wait()->state, AdapterState::kUnloaded) << "and neither when it is over";
  ASSERT_TRUE(Load(*store_, "a", "one").ok());
  Pending after;
  Unload(after, {.request_id = "r"});
  EXPECT_EQ(after.Wait()->state, AdapterState::kAvailable) << "what came after is not unloaded";
}

TEST_F(StoreUnloadTest, ALoadOfWhatIsBeingUnloadedIsRefused) {
  Pending first;
  Unload(first);
  EXPECT_EQ(Load(*store_, "a", "two").status().code(), absl::StatusCode::kAborted);
  running_.reset();
  EXPECT_TRUE(first.Wait().ok());
  EXPECT_EQ(Load(*store_, "a", "two")->generation, 2u);
}

// Between the question and the record of it.
class RecordedUnloadTest : public StoreFixture {
 protected:
  RecordedUnloadTest() {
    AdapterStore::Parts parts;
    parts.disk = std::make_unique<FakeDisk>(disk_);
    parts.loads = std::make_unique<ManualExecutor>(jobs_);
    parts.fetches = std::make_unique<ManualExecutor>(jobs_);
    parts.journal = *Journal::Open(std::make_unique<FakeLogDirectory>(log_));
    store_ = std::make_unique<AdapterStore>(AdapterStoreOptions{}, backend_, TinyModel(), clock_,
                                            std::move(parts));
    Pending load;
    store_->Load("a", "one", load.done());
    RunAll();
    EXPECT_TRUE(load.Wait().ok());
    running_ = *store_->Acquire("a");
    EXPECT_TRUE(running_->Bind());
  }
  void RunAll() {
    while (!jobs_->empty()) ManualExecutor::Run(*jobs_, 0);
  }

  std::shared_ptr<ManualExecutor::Jobs> jobs_ = std::make_shared<ManualExecutor::Jobs>();
  FakeLogDirectory log_;
  std::unique_ptr<AdapterStore> store_;
  std::optional<AdapterHandle> running_;
};

TEST_F(RecordedUnloadTest, OneThatIsBeingRecordedIsJoinedToo) {
  Pending first, forced;
  store_->Unload("a", first.done());
  store_->Unload("a", forced.done(), {.force = true, .request_id = "r"});
  EXPECT_TRUE(running_->status().ok()) << "it is not durable yet";
  RunAll();
  EXPECT_EQ(running_->status().code(), absl::StatusCode::kAborted);
  running_.reset();
  RunAll();
  EXPECT_TRUE(first.Wait().ok());
  EXPECT_TRUE(forced.Wait().ok());
  store_.reset();
  const auto journal = *Journal::Open(std::make_unique<FakeLogDirectory>(log_));
  EXPECT_TRUE(journal->opened().adapters.empty());
  EXPECT_NE(journal->opened().Find("r"), nullptr) << "both are remembered";
}

TEST_F(RecordedUnloadTest, WhatCannotBeRecordedIsToldToAll) {
  Pending first, second;
  log_.state().recovers = true;
  log_.state().fail_call = log_.state().calls + 1;
  store_->Unload("a", first.done());
  store_->Unload("a", second.done(), {.force = true});
  RunAll();
  EXPECT_EQ(first.Wait().status().code(), absl::StatusCode::kInternal);
  EXPECT_EQ(second.Wait().status().code(), absl::StatusCode::kInternal);
  EXPECT_TRUE(running_->status().ok());
  EXPECT_EQ(store_->Get("a")->state, AdapterState::kAvailable);
  running_.reset();
  Pending third;
  store_->Unload("a", third.done());
  RunAll();
  EXPECT_TRUE(third.Wait().ok());
  store_.reset();
}

}  // namespace
}  // namespace hydrad
