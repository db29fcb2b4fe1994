// Files that are away for a moment, or may not be read: what comes back serves as if nothing had been.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "server/adapters/store/backoff.h"
#include "server/base/invalid_argument.h"
#include "server/base/reason.h"
#include "server/base/status.h"
#include "tests/adapters/store/store_fixture.h"

namespace hydrad {
namespace {

using testing::HasSubstr;
using Code = absl::StatusCode;

TEST(BackoffTest, EachFailureIsTriedTwiceAsLateUpToABound) {
  FakeClock clock;
  Backoff backoff;
  EXPECT_FALSE(backoff.failed());
  EXPECT_EQ(backoff.Left(clock.Now()), Duration{});
  Duration last{};
  for (int i = 0; i < 20; ++i) {
    backoff.Failed(clock.Now());
    const Duration left = backoff.Left(clock.Now());
    EXPECT_EQ(left, i == 0 ? Backoff::kFirst : std::min(2 * last, Backoff::kLongest));
    backoff.Failed(clock.Now());
    EXPECT_EQ(backoff.Left(clock.Now()), left) << "one try fails once";
    clock.Advance(left);
    EXPECT_EQ(backoff.Left(clock.Now()), Duration{});
    last = left;
  }
  backoff.Worked();
  backoff.Failed(clock.Now());
  EXPECT_EQ(backoff.Left(clock.Now()), Backoff::kFirst);
}

// Room for one: "a" is on the disk alone.
class StoreHealTest : public StoreFixture {
 protected:
  StoreHealTest() {
    EXPECT_TRUE(Load(*store_, "a", "one").ok());
    EXPECT_TRUE(Load(*store_, "b", "two").ok());
    EXPECT_EQ(store_->Get("a")->tier, Tier::kDisk);
  }
  void ExpectNotNow(const std::string& text) {
    const absl::Status status = Refused(*store_, "a");
    EXPECT_EQ(status.code(), Code::kUnavailable) << status;
    EXPECT_EQ(ReasonGiven(status).value_or(""), "ADAPTER_NOT_READY");
    EXPECT_THAT(std::string(status.message()), HasSubstr(text));
    EXPECT_EQ(store_->Get("a")->state, AdapterState::kAvailable);
    EXPECT_FALSE(store_->Get("a")->error.ok()) << "it is told";
  }

  const std::unique_ptr<AdapterStore> store_ = MakeStore({.device_bytes = bytes_, .host_bytes = host_bytes_});
};

TEST_F(StoreHealTest, ADirectoryThatComesBackIsServed) {
  const FakeDisk::Files files = disk_.Take("one");
  ExpectNotNow("no such directory");
  const int calls = disk_.calls();
  EXPECT_EQ(store_->Acquire("a").status().code(), Code::kUnavailable) << "not tried again at once";
  EXPECT_EQ(disk_.calls(), calls);
  clock_.Advance(Backoff::kFirst);
  ExpectNotNow("no such directory");
  disk_.Put("one", files);
  clock_.Advance(2 * Backoff::kFirst);
  EXPECT_EQ(Bound(*store_, "a").generation(), 1u);
  EXPECT_TRUE(store_->Get("a")->error.ok());
}

TEST_F(StoreHealTest, WhateverIsWrongWithTheDiskMayPass) {
  for (const absl::Status& broken :
       {PermissionDenied("the server may not read this file"), Internal("cannot be read: Stale file handle"),
        FailedPrecondition("the adapter root: no such file"), InvalidArgument("is not a directory")}) {
    disk_.Break(broken);
    ExpectNotNow(std::string(broken.message()));
    disk_.Break(absl::OkStatus());
    clock_.Advance(Backoff::kLongest);
    EXPECT_EQ(Bound(*store_, "a").generation(), 1u);
    Bound(*store_, "b");  // throws it out
    EXPECT_TRUE(Eventually([&] { return store_->Get("a")->tier == Tier::kDisk; }));
  }
}

TEST_F(StoreHealTest, FilesThatAreMissingOrBeingChangedMayPass) {
  FakeDisk::Files files = disk_.Take("one"), partly = files;
  partly.erase("adapter_model.safetensors");
  partly["adapter_model.bin"] = "which is there too";
  disk_.Put("one", partly);
  ExpectNotNow("no such file");
  disk_.Put("one", files);
  disk_.SetDrift(-1);
  clock_.Advance(Backoff::kLongest);
  ExpectNotNow("became shorter");
  disk_.SetDrift(0);
  clock_.Advance(Backoff::kLongest);
  EXPECT_EQ(Bound(*store_, "a").generation(), 1u);
}

TEST_F(StoreHealTest, OtherContentIsFinal) {
  FakeDisk::Files files = disk_.Take("one");
  disk_.Put("one", {{"adapter_config.json", "{"}, {"adapter_model.safetensors", "x"}});
  EXPECT_EQ(Refused(*store_, "a").code(), Code::kFailedPrecondition) << "whatever it is";
  EXPECT_EQ(store_->Get("a")->state, AdapterState::kFailed);
  disk_.Put("one", files);
  clock_.Advance(Backoff::kLongest);
  EXPECT_EQ(store_->Acquire("a").status().code(), Code::kFailedPrecondition) << "an operator must look at it";
  EXPECT_TRUE(Load(*store_, "a", "one").ok());
}

TEST_F(StoreHealTest, APinnedAdapterIsTriedAgainByItself) {
  const FakeDisk::Files files = disk_.Take("one");
  Pending pin;
  store_->Pin("a", true, pin.done());
  ASSERT_TRUE(pin.Wait().ok());
  EXPECT_TRUE(Eventually([&] { return !store_->Get("a")->error.ok(); }));
  disk_.Put("one", files);
  store_->TryPinnedAgain();
  EXPECT_EQ(store_->Acquire("a").status().code(), Code::kUnavailable) << "not before its time";
  clock_.Advance(Backoff::kFirst);
  store_->TryPinnedAgain();
  EXPECT_TRUE(Eventually([&] { return store_->Get("a")->tier == Tier::kDevice; }));
}

TEST_F(StoreHealTest, SoItIsAtStartFromTheJournal) {
  FakeLogDirectory log;
  auto store = OpenStore(log);
  ASSERT_TRUE(Load(*store, "a", "one").ok());
  store.reset();
  const FakeDisk::Files files = disk_.Take("one");
  store = OpenStore(log);
  EXPECT_EQ(Refused(*store, "a").code(), Code::kUnavailable) << "mounted late";
  disk_.Put("one", files);
  clock_.Advance(Backoff::kFirst);
  EXPECT_EQ(Bound(*store, "a").generation(), 1u);
}

}  // namespace
}  // namespace hydrad
