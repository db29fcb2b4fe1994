// The n-th call of the disk or the device fails, for every n: whatever breaks, nothing stays behind.
#include <gtest/gtest.h>

#include "server/adapters/store/backoff.h"
#include "tests/adapters/store/store_fixture.h"

namespace hydrad {
namespace {

class StoreFaultsTest : public StoreFixture {
 protected:
  // Calls `attempt` with n = 1, 2, 3 ... failing until it says that nothing failed; returns how many did.
  template <class Fail, class Attempt>
  static int ForEveryCall(Fail fail, Attempt attempt) {
    for (int n = 1; n < 1000; ++n) {
      fail(n);
      if (attempt()) return n - 1;
    }
    ADD_FAILURE() << "never succeeds";
    return 0;
  }
  void NothingIsHeld(const AdapterStore& store) {
    EXPECT_EQ(store.device_bytes_used(), 0);
    EXPECT_EQ(store.host_bytes_used(), 0);
    EXPECT_EQ(backend_.live(), 0);
    EXPECT_EQ(backend_.live_bytes(), 0);
  }
};

TEST_F(StoreFaultsTest, FirstLoadSurvivesEveryFailureOfTheDisk) {
  disk_.SetChunk(256);  // many reads
  const auto store = MakeStore();
  const int failures = ForEveryCall([&](int n) { disk_.FailCall(n); },
                                    [&] {
                                      const auto loaded = Load(*store, "a", "one");
                                      if (loaded.ok()) return true;
                                      EXPECT_EQ(loaded.status().code(), absl::StatusCode::kInternal);
                                      EXPECT_EQ(store->Get("a")->state, AdapterState::kFailed);
                                      NothingIsHeld(*store);
                                      return false;
                                    });
  EXPECT_GT(failures, 10);
  EXPECT_EQ(store->Get("a")->state, AdapterState::kAvailable);
  EXPECT_EQ(store->device_bytes_used(), bytes_);
}

TEST_F(StoreFaultsTest, ReplaceSurvivesEveryFailureOfTheDisk) {
  disk_.SetChunk(256);
  const auto store = MakeStore();
  ASSERT_TRUE(Load(*store, "a", "one").ok());
  const int failures = ForEveryCall([&](int n) { disk_.FailCall(n); },
                                    [&] {
                                      const auto loaded = Load(*store, "a", "two");
                                      if (loaded.ok()) return true;
                                      EXPECT_EQ(Bound(*store, "a").generation(), 1);
                                      EXPECT_EQ(store->device_bytes_used(), bytes_);
                                      EXPECT_EQ(store->host_bytes_used(), host_bytes_);
                                      EXPECT_EQ(backend_.live(), 1);
                                      return false;
                                    });
  EXPECT_GT(failures, 10);
  EXPECT_EQ(Bound(*store, "a").generation(), 2) << "failed loads use up no number";
  ExpectBytes(*store, bytes_);
}

TEST_F(StoreFaultsTest, ValidateOnlySurvivesEveryFailureOfTheDisk) {
  disk_.SetChunk(256);
  const auto store = MakeStore();
  ForEveryCall([&](int n) { disk_.FailCall(n); },
               [&] {
                 Pending pending;
                 store->ValidateOnly("a", "one", pending.done());
                 const bool ok = pending.Wait().ok();
                 NothingIsHeld(*store);
                 return ok;
               });
  EXPECT_TRUE(store->List().empty());
}

TEST_F(StoreFaultsTest, EveryFailureOfTheDeviceLeavesNothing) {
  const auto store = MakeStore();
  const std::vector<std::pair<const char*, const char*>> loads = {{"a", "one"}, {"b", "hydra"}, {"a", "two"}};
  // The n-th of the three loads fails.
  for (int n = 1; n <= 3; ++n) {
    backend_.FailLoad(backend_.calls() + n);
    for (int i = 0; i < 3; ++i) {
      const auto loaded = Load(*store, loads[i].first, loads[i].second);
      EXPECT_EQ(loaded.ok(), i + 1 != n);
      if (!loaded.ok()) {
        EXPECT_EQ(loaded.status().code(), absl::StatusCode::kInternal);
      }
      EXPECT_EQ(store->device_bytes_used(), backend_.live_bytes());
    }
    EXPECT_TRUE(Unload(*store, "a").ok());
    EXPECT_TRUE(Unload(*store, "b").ok());
    NothingIsHeld(*store);
  }
}

// A request asks for what only the disk holds; each failure ends that request alone, and the next one gets
// it.
TEST_F(StoreFaultsTest, FetchesSurviveEveryFailureOfTheDisk) {
  disk_.SetChunk(256);
  const auto store = MakeStore({.device_bytes = bytes_, .host_bytes = host_bytes_});
  ASSERT_TRUE(Load(*store, "a", "one").ok());
  ASSERT_TRUE(Load(*store, "b", "two").ok());
  ASSERT_EQ(store->Get("a")->tier, Tier::kDisk);
  const int failures =
      ForEveryCall([&](int n) { disk_.FailCall(n); },
                   [&] {
                     auto handle = store->Acquire("a");
                     EXPECT_TRUE(handle.ok()) << handle.status();
                     EXPECT_TRUE(Eventually([&] { return !handle->status().ok() || handle->Bind(); }));
                     if (handle->bound()) return true;
                     EXPECT_EQ(handle->status().code(), absl::StatusCode::kUnavailable);
                     EXPECT_EQ(store->Get("a")->state, AdapterState::kAvailable);
                     clock_.Advance(Backoff::kLongest);
                     return false;
                   });
  EXPECT_GT(failures, 5);
  ExpectBytes(*store, bytes_);
  EXPECT_EQ(store->host_bytes_used(), host_bytes_);
}

TEST_F(StoreFaultsTest, AFetchSurvivesAFailureOfTheDevice) {
  const auto store = MakeStore({.device_bytes = bytes_});
  ASSERT_TRUE(Load(*store, "a", "one").ok());
  ASSERT_TRUE(Load(*store, "b", "two").ok());
  backend_.FailLoad(backend_.calls() + 1);
  EXPECT_EQ(Refused(*store, "a").code(), absl::StatusCode::kUnavailable);
  clock_.Advance(Backoff::kLongest);
  EXPECT_EQ(Bound(*store, "a").generation(), 1);
  ExpectBytes(*store, bytes_);
}

}  // namespace
}  // namespace hydrad
