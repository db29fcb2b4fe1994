// Where adapters are while they serve: on the device, in host memory, on disk; pins, first use, force.
#include <fmt/core.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <optional>

#include "tests/adapters/store/store_fixture.h"

namespace hydrad {
namespace {

using testing::HasSubstr;

// Room for one adapter on the device and for two in host memory, unless a test says otherwise.
class StoreTiersTest : public StoreFixture {
 protected:
  std::unique_ptr<AdapterStore> Narrow(int device = 1, int host = 2) {
    return MakeStore({.device_bytes = device * bytes_, .host_bytes = host * host_bytes_});
  }
  static Tier TierOf(AdapterStore& store, const std::string& name) { return store.Get(name)->tier; }
};

TEST_F(StoreTiersTest, ALoadThrowsOutWhatNobodyUsesTierByTier) {
  const auto store = Narrow();
  for (const char* name : {"a", "b", "c"}) ASSERT_TRUE(Load(*store, name, "one").ok());
  EXPECT_EQ(TierOf(*store, "a"), Tier::kDisk);
  EXPECT_EQ(TierOf(*store, "b"), Tier::kHost);
  EXPECT_EQ(TierOf(*store, "c"), Tier::kDevice);
  EXPECT_EQ(store->device_bytes_used(), bytes_);
  EXPECT_EQ(store->host_bytes_used(), 2 * host_bytes_);
  EXPECT_EQ(backend_.live_bytes(), bytes_);
  for (const char* name : {"a", "b", "c"}) EXPECT_EQ(store->Get(name)->state, AdapterState::kAvailable);
}

TEST_F(StoreTiersTest, FirstUseBringsBackTheGenerationFromHostOrDisk) {
  const auto store = Narrow();
  for (const char* name : {"a", "b", "c"}) ASSERT_TRUE(Load(*store, name, "one").ok());
  disk_.FailCall(0);  // counts from here
  EXPECT_EQ(Bound(*store, "b").generation(), 2);
  EXPECT_EQ(disk_.calls(), 0) << "from host memory";
  EXPECT_EQ(Bound(*store, "a").generation(), 1);
  EXPECT_GT(disk_.calls(), 0) << "from disk";
  EXPECT_EQ(TierOf(*store, "a"), Tier::kDevice);
  EXPECT_EQ(TierOf(*store, "b"), Tier::kHost);
  ExpectBytes(*store, bytes_);
}

TEST_F(StoreTiersTest, WhatIsInUseStaysAndTheOtherWaits) {
  const auto store = Narrow();
  ASSERT_TRUE(Load(*store, "a", "one").ok());
  ASSERT_TRUE(Load(*store, "b", "two").ok());
  std::optional<AdapterHandle> running = Bound(*store, "b");
  AdapterHandle waiting = *store->Acquire("a");
  EXPECT_TRUE(Eventually([&] { return waiting.blocked(); }));
  EXPECT_FALSE(waiting.Bind());
  EXPECT_TRUE(backend_.IsLive(running->device()));
  EXPECT_EQ(Load(*store, "c", "one")->tier, Tier::kHost) << "a load is accepted, and waits for its turn";
  running.reset();
  EXPECT_TRUE(Eventually([&] { return waiting.Bind(); }));
  EXPECT_FALSE(waiting.blocked());
  EXPECT_EQ(waiting.generation(), 1);
}

TEST_F(StoreTiersTest, TheMostUrgentComesFirstAndIsNotThrownOutForTheNext) {
  const auto store = Narrow();
  for (const char* name : {"a", "b", "c"}) ASSERT_TRUE(Load(*store, name, "one").ok());
  AdapterHandle a = *store->Acquire("a"), b = *store->Acquire("b");
  store->Want({"b", "a"});
  EXPECT_TRUE(Eventually([&] { return b.ready() && a.blocked(); }));
  store->Want({"a", "b"});
  EXPECT_TRUE(Eventually([&] { return a.ready() && b.blocked(); })) << "the order has changed";
  EXPECT_TRUE(a.Bind());
}

TEST_F(StoreTiersTest, TheWakerIsCalledWhenAnAdapterIsReady) {
  const auto store = Narrow();
  ASSERT_TRUE(Load(*store, "a", "one").ok());
  ASSERT_TRUE(Load(*store, "b", "two").ok());
  std::atomic<int> woken = 0;
  store->SetWaker([&] { ++woken; });
  const AdapterHandle a = *store->Acquire("a");
  EXPECT_TRUE(Eventually([&] { return woken > 0; }));
  EXPECT_TRUE(Eventually([&] { return a.ready(); }));
  store->SetWaker(nullptr);
}

TEST_F(StoreTiersTest, FilesThatHaveChangedAreNeverServedUnderTheOldNumber) {
  const auto store = Narrow(1, 1);
  ASSERT_TRUE(Load(*store, "a", "one").ok());
  ASSERT_TRUE(Load(*store, "b", "two").ok());
  disk_.Put("one", PlainLora(3).Bytes());
  const absl::Status status = Refused(*store, "a");
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("one: the files have the digest sha256:"));
  EXPECT_EQ(store->Get("a")->state, AdapterState::kFailed);
  EXPECT_EQ(store->Acquire("a").status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(Bound(*store, "b").generation(), 2) << "nobody else notices";
  EXPECT_EQ(Load(*store, "a", "one")->generation, 3) << "loading it again is what helps";
  EXPECT_EQ(Bound(*store, "a").generation(), 3);
}

TEST_F(StoreTiersTest, AWaitingRequestGetsTheGenerationThatServesWhenItStarts) {
  const auto store = Narrow();
  ASSERT_TRUE(Load(*store, "a", "one").ok());
  ASSERT_TRUE(Load(*store, "b", "two").ok());
  std::optional<AdapterHandle> running = Bound(*store, "b");
  AdapterHandle waiting = *store->Acquire("a");
  EXPECT_EQ(Load(*store, "a", "two")->generation, 3);
  running.reset();
  EXPECT_TRUE(Eventually([&] { return waiting.Bind(); }));
  EXPECT_EQ(waiting.generation(), 3);
}

TEST_F(StoreTiersTest, TheSameContentAgainIsANewGenerationOfTheSameComponent) {
  const auto store = Narrow();
  ASSERT_TRUE(Load(*store, "a", "one").ok());
  const AdapterHandle old = Bound(*store, "a");
  const auto again = Load(*store, "a", "one");
  EXPECT_EQ(again->generation, 2);
  EXPECT_EQ(again->tier, Tier::kDevice) << "with room for one";
  const AdapterHandle fresh = Bound(*store, "a");
  EXPECT_EQ(fresh.device(), old.device());
  EXPECT_EQ(old.generation(), 1);
  EXPECT_EQ(fresh.generation(), 2);
  EXPECT_EQ(backend_.calls(), 1);
}

TEST_F(StoreTiersTest, ADigestThatWasAskedForMustBeTheFiles) {
  const auto store = Narrow();
  const std::string digest = Load(*store, "a", "one")->digest;
  EXPECT_EQ(Load(*store, "a", "two", {.digest = digest}).status().code(),
            absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(store->Get("a")->generation, 1);
  EXPECT_TRUE(Load(*store, "a", "one", {.digest = digest}).ok());
  EXPECT_EQ(Unload(*store, "a", {.digest = "sha256:other"}).status().code(), absl::StatusCode::kAborted);
  EXPECT_EQ(store->Get("a")->state, AdapterState::kAvailable);
  EXPECT_TRUE(Unload(*store, "a", {.digest = digest}).ok());
}

TEST_F(StoreTiersTest, PinnedAdaptersStayOnTheDevice) {
  const auto store = Narrow(2, 3);
  for (const char* name : {"a", "b", "c"}) ASSERT_TRUE(Load(*store, name, "one").ok());
  Pending pin, second, third;
  store->Pin("a", true, pin.done());
  EXPECT_TRUE(pin.Wait()->pinned);
  EXPECT_TRUE(Eventually([&] { return TierOf(*store, "a") == Tier::kDevice; })) << "it is brought there";
  for (const char* name : {"b", "c", "b"}) Bound(*store, name);
  EXPECT_EQ(TierOf(*store, "a"), Tier::kDevice);
  store->Pin("b", true, second.done());
  EXPECT_TRUE(second.Wait().ok());
  store->Pin("c", true, third.done());
  EXPECT_EQ(third.Wait().status().code(), absl::StatusCode::kResourceExhausted);

  ASSERT_TRUE(Load(*store, "a", "two").ok());
  EXPECT_TRUE(store->Get("a")->pinned) << "of the name, whatever its generation";
  Pending unpin;
  store->Pin("a", false, unpin.done());
  EXPECT_FALSE(unpin.Wait()->pinned);
  EXPECT_EQ(Bound(*store, "c").generation(), 3);
  EXPECT_EQ(TierOf(*store, "b"), Tier::kDevice);
  EXPECT_NE(TierOf(*store, "a"), Tier::kDevice);
  EXPECT_TRUE(Unload(*store, "b").ok()) << "a pin does not hold a name";
  EXPECT_EQ(store->Get("b").status().code(), absl::StatusCode::kNotFound);
}

TEST_F(StoreTiersTest, DrainServesThoseWhoWait) {
  const auto store = Narrow();
  ASSERT_TRUE(Load(*store, "a", "one").ok());
  ASSERT_TRUE(Load(*store, "b", "two").ok());
  std::optional<AdapterHandle> running = Bound(*store, "b"), waiting = *store->Acquire("a");
  Pending unload;
  store->Unload("a", unload.done());
  EXPECT_EQ(store->Get("a")->state, AdapterState::kUnloading);
  running.reset();
  EXPECT_TRUE(Eventually([&] { return waiting->Bind(); })) << "its request had been accepted";
  EXPECT_FALSE(unload.ready());
  waiting.reset();
  EXPECT_TRUE(unload.Wait().ok());
}

TEST_F(StoreTiersTest, ForceEndsThoseWhoRunAndThoseWhoWait) {
  const auto store = Narrow();
  ASSERT_TRUE(Load(*store, "a", "one").ok());
  std::optional<AdapterHandle> running = Bound(*store, "a"), waiting = *store->Acquire("a");
  std::atomic<int> woken = 0;
  store->SetWaker([&] { ++woken; });
  Pending unload;
  store->Unload("a", unload.done(), {.force = true});
  EXPECT_TRUE(Eventually([&] { return woken > 0; }));
  for (const auto* handle : {&running, &waiting}) {
    EXPECT_EQ((*handle)->status().code(), absl::StatusCode::kAborted);
    EXPECT_EQ((*handle)->status().message(), "adapter 'a' was unloaded");
  }
  EXPECT_FALSE(waiting->Bind());
  EXPECT_TRUE(backend_.IsLive(running->device())) << "until its request has gone";
  EXPECT_FALSE(unload.ready());
  running.reset();
  waiting.reset();
  EXPECT_TRUE(unload.Wait().ok());
  EXPECT_EQ(store->device_bytes_used(), 0);
  store->SetWaker(nullptr);
}

TEST_F(StoreTiersTest, TenLoadsAtOnceWithRoomForTwo) {
  const auto store = MakeStore(
      {.device_bytes = 2 * bytes_, .host_bytes = 2 * host_bytes_, .loader_threads = 4, .fetch_threads = 2});
  std::vector<Pending> loads(10);
  for (int i = 0; i < 10; ++i) store->Load("a" + std::to_string(i), i % 2 ? "one" : "two", loads[i].done());
  for (Pending& load : loads) EXPECT_TRUE(load.Wait().ok());
  EXPECT_LE(store->device_bytes_used(), 2 * bytes_);
  for (int i = 0; i < 10; ++i)
    EXPECT_EQ(Bound(*store, "a" + std::to_string(i)).generation(),
              store->Get("a" + std::to_string(i))->generation);
}

TEST_F(StoreTiersTest, EventsTellOfEveryMove) {
  const auto store = Narrow(1, 1);
  std::vector<std::string> events;
  store->AddWatcher([&](const AdapterEvent& event) {
    const char* const change[] = {"state", "loaded", "fetched", "fetch failed", "evicted"};
    events.push_back(fmt::format("{} {} {}", event.info.name, change[static_cast<int>(event.change)],
                                 Name(event.info.tier)));
  });
  ASSERT_TRUE(Load(*store, "a", "one").ok());
  ASSERT_TRUE(Load(*store, "b", "two").ok());
  Bound(*store, "a");
  ASSERT_TRUE(Unload(*store, "a").ok());
  EXPECT_THAT(events,
              testing::ElementsAre("a state disk", "a loaded device", "b state disk", "a evicted disk",
                                   "b loaded device", "a fetched host", "b evicted disk", "a fetched device",
                                   "a state device", "a state device"));
}

}  // namespace
}  // namespace hydrad
