// What is to serve for the first time is tried on the device before any request runs on it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <optional>

#include "server/adapters/store/backoff.h"
#include "server/base/invalid_argument.h"
#include "server/base/mutex.h"
#include "server/base/status.h"
#include "tests/adapters/store/store_fixture.h"

namespace hydrad {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

// Room for one adapter on the device. Trials are remembered by name and answered as a test says.
class StoreTrialsTest : public StoreFixture {
 protected:
  std::unique_ptr<AdapterStore> Trying() {
    return MakeStore({.device_bytes = bytes_,
                      .host_bytes = 4 * host_bytes_,
                      .try_out = [this](const std::shared_ptr<const AdapterGeneration>& generation) {
                        return Try(*generation);
                      }});
  }
  // The next trials' answers; OK when there are no more.
  void Answer(std::vector<absl::Status> answers) {
    MutexLock lock(&mu_);
    answers_ = std::move(answers);
  }
  std::vector<std::string> tried() {
    MutexLock lock(&mu_);
    return tried_;
  }
  void CloseGate() {
    MutexLock lock(&mu_);
    open_ = false;
  }
  void OpenGate() {
    MutexLock lock(&mu_);
    open_ = true;
  }

 private:
  absl::Status Try(const AdapterGeneration& generation) {
    EXPECT_TRUE(backend_.IsLive(generation.device.get()));
    MutexLock lock(&mu_);
    tried_.push_back(generation.name);
    mu_.Await([this]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return open_; });
    if (answers_.empty()) return absl::OkStatus();
    const absl::Status answer = answers_.front();
    answers_.erase(answers_.begin());
    return answer;
  }

  Mutex mu_;
  std::vector<std::string> tried_ ABSL_GUARDED_BY(mu_);
  std::vector<absl::Status> answers_ ABSL_GUARDED_BY(mu_);
  bool open_ ABSL_GUARDED_BY(mu_) = true;
};

TEST_F(StoreTrialsTest, ALoadIsTriedOnceForEachContent) {
  const auto store = Trying();
  ASSERT_TRUE(Load(*store, "a", "one").ok());
  EXPECT_THAT(tried(), ElementsAre("a"));
  Bound(*store, "a");
  ASSERT_TRUE(Load(*store, "a", "one").ok());
  EXPECT_THAT(tried(), ElementsAre("a")) << "the same content again";
  ASSERT_TRUE(Load(*store, "a", "two").ok());
  EXPECT_THAT(tried(), ElementsAre("a", "a"));
  EXPECT_EQ(Bound(*store, "a").generation(), 3);
}

TEST_F(StoreTrialsTest, AReplaceThatFailsItsTrialLeavesTheOldServing) {
  const auto store = Trying();
  ASSERT_TRUE(Load(*store, "a", "one").ok());
  Answer({InvalidArgument("not finite")});
  const absl::Status refused = Load(*store, "a", "two").status();
  EXPECT_EQ(refused, InvalidArgument("two: not finite"));
  EXPECT_EQ(store->Get("a")->state, AdapterState::kAvailable);
  EXPECT_EQ(Bound(*store, "a").generation(), 1);
  ExpectBytes(*store, bytes_);
}

TEST_F(StoreTrialsTest, ANewNameThatFailsIsFailed) {
  const auto store = Trying();
  Answer({InvalidArgument("not finite")});
  EXPECT_FALSE(Load(*store, "a", "one").ok());
  EXPECT_EQ(store->Get("a")->state, AdapterState::kFailed);
  ExpectBytes(*store, 0);
}

TEST_F(StoreTrialsTest, WhatFindsNoRoomIsTriedAtItsFirstUseAndNeverAgain) {
  const auto store = Trying();
  ASSERT_TRUE(Load(*store, "b", "two").ok());
  std::optional<AdapterHandle> running = Bound(*store, "b");
  ASSERT_EQ(Load(*store, "a", "one")->tier, Tier::kHost);
  EXPECT_THAT(tried(), ElementsAre("b"));
  running.reset();
  Bound(*store, "a");
  EXPECT_THAT(tried(), ElementsAre("b", "a"));
  Bound(*store, "b");
  Bound(*store, "a");
  EXPECT_THAT(tried(), ElementsAre("b", "a"));
}

TEST_F(StoreTrialsTest, NoRequestRunsBeforeTheTrialHasEnded) {
  const auto store = Trying();
  ASSERT_TRUE(Load(*store, "b", "two").ok());
  {
    const AdapterHandle running = Bound(*store, "b");
    ASSERT_TRUE(Load(*store, "a", "one").ok());
  }
  CloseGate();
  AdapterHandle waiting = *store->Acquire("a");
  EXPECT_TRUE(Eventually([&] { return tried().size() == 2; }));
  EXPECT_EQ(store->Get("a")->tier, Tier::kDevice);
  EXPECT_FALSE(waiting.ready());
  EXPECT_FALSE(waiting.Bind());
  OpenGate();
  EXPECT_TRUE(Eventually([&] { return waiting.Bind(); }));
}

TEST_F(StoreTrialsTest, AFirstUseThatFailsItsTrialFailsThatNameAlone) {
  const auto store = Trying();
  ASSERT_TRUE(Load(*store, "b", "two").ok());
  {
    const AdapterHandle running = Bound(*store, "b");
    ASSERT_TRUE(Load(*store, "a", "one").ok());
  }
  Answer({InvalidArgument("not finite")});
  const absl::Status refused = Refused(*store, "a");
  EXPECT_TRUE(absl::IsFailedPrecondition(refused)) << refused;
  EXPECT_THAT(std::string(refused.message()), HasSubstr("one: not finite"));
  EXPECT_EQ(store->Get("a")->state, AdapterState::kFailed);
  EXPECT_EQ(Bound(*store, "b").generation(), 1);
  ExpectBytes(*store, bytes_);
}

TEST_F(StoreTrialsTest, ATrialThatCouldNotBeMadeIsMadeAgain) {
  const auto store = Trying();
  ASSERT_TRUE(Load(*store, "b", "two").ok());
  {
    const AdapterHandle running = Bound(*store, "b");
    ASSERT_TRUE(Load(*store, "a", "one").ok());
  }
  Answer({Unavailable("not now")});
  EXPECT_TRUE(absl::IsUnavailable(Refused(*store, "a")));
  clock_.Advance(Backoff::kLongest);
  EXPECT_EQ(Bound(*store, "a").generation(), 2);
  EXPECT_THAT(tried(), ElementsAre("b", "a", "a"));
}

TEST_F(StoreTrialsTest, AnUnloadWaitsForTheTrial) {
  const auto store = Trying();
  ASSERT_TRUE(Load(*store, "b", "two").ok());
  {
    const AdapterHandle running = Bound(*store, "b");
    ASSERT_TRUE(Load(*store, "a", "one").ok());
  }
  CloseGate();
  {
    const AdapterHandle waiting = *store->Acquire("a");
    EXPECT_TRUE(Eventually([&] { return tried().size() == 2; }));
  }
  Pending unload;
  store->Unload("a", unload.done());
  EXPECT_FALSE(unload.ready());
  OpenGate();
  EXPECT_TRUE(unload.Wait().ok());
  ExpectBytes(*store, 0);
}

TEST_F(StoreTrialsTest, ValidatingTriesNothing) {
  const auto store = Trying();
  Pending pending;
  store->ValidateOnly("a", "one", pending.done());
  EXPECT_TRUE(pending.Wait().ok());
  EXPECT_THAT(tried(), IsEmpty());
}

}  // namespace
}  // namespace hydrad
