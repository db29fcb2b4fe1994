#include "server/adapters/store/adapter_store.h"

#include <fmt/core.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <optional>
#include <thread>

#include "tests/adapters/store/store_fixture.h"

namespace hydrad {
namespace {

using ::testing::ElementsAre;

using AdapterStoreTest = StoreFixture;

// What a watcher saw: "name state generation".
class Watched {
 public:
  explicit Watched(AdapterStore& store)
      : store_(store), token_(store.AddWatcher([this](const AdapterEvent& event) {
          events_.push_back(fmt::format("{} {} {}{}", event.info.name, Name(event.info.state),
                                        event.info.generation, event.info.error.ok() ? "" : " error"));
        })) {}
  // Stops watching first, so that no event is being delivered.
  std::vector<std::string> Take() {
    store_.RemoveWatcher(token_);
    return events_;
  }

 private:
  std::vector<std::string> events_;
  AdapterStore& store_;
  uint64_t token_;
};

TEST_F(AdapterStoreTest, LoadServesAndSaysWhatItServes) {
  const auto store = MakeStore();
  EXPECT_EQ(store->Acquire("a").status().code(), absl::StatusCode::kNotFound);
  const auto loaded = Load(*store, "a", "one");
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ(loaded->state, AdapterState::kAvailable);
  EXPECT_EQ(loaded->generation, 1);
  EXPECT_EQ(loaded->path, "one");
  EXPECT_EQ(loaded->family, "lora");
  EXPECT_EQ(loaded->max_rank, 2);
  EXPECT_EQ(loaded->experts, 1);
  EXPECT_THAT(loaded->targets, ElementsAre("q_proj", "down_proj"));
  EXPECT_EQ(loaded->device_bytes, bytes_);
  EXPECT_EQ(store->device_bytes_used(), bytes_);
  EXPECT_EQ(backend_.live_bytes(), bytes_);

  EXPECT_EQ(loaded->tier, Tier::kDevice);
  EXPECT_EQ(loaded->host_bytes, host_bytes_);
  EXPECT_EQ(store->host_bytes_used(), host_bytes_);

  const AdapterHandle handle = Bound(*store, "a");
  EXPECT_EQ(handle.name(), "a");
  EXPECT_EQ(handle.generation(), 1);
  EXPECT_TRUE(backend_.IsLive(handle.device()));
}

TEST_F(AdapterStoreTest, UnloadWaitsForTheLastHandleAndGivesBackEveryByte) {
  const auto store = MakeStore();
  ASSERT_TRUE(Load(*store, "a", "one").ok());
  std::optional<AdapterHandle> first = Bound(*store, "a"), second = Bound(*store, "a");
  EXPECT_EQ(store->Get("a")->handles, 2);

  Pending unload;
  store->Unload("a", unload.done());
  EXPECT_FALSE(unload.ready());
  EXPECT_EQ(store->Get("a")->state, AdapterState::kUnloading);
  EXPECT_EQ(store->Acquire("a").status().code(), absl::StatusCode::kUnavailable);
  first.reset();
  EXPECT_EQ(store->Get("a")->handles, 1);
  EXPECT_TRUE(backend_.IsLive(second->device()));
  EXPECT_EQ(store->device_bytes_used(), bytes_);

  std::thread([&] { second.reset(); }).join();  // any thread may be the last
  EXPECT_EQ(unload.Wait()->state, AdapterState::kUnloaded);
  EXPECT_EQ(store->device_bytes_used(), 0);
  EXPECT_EQ(store->host_bytes_used(), 0);
  EXPECT_EQ(backend_.live(), 0);
  EXPECT_EQ(store->Get("a").status().code(), absl::StatusCode::kNotFound);
}

TEST_F(AdapterStoreTest, ReplaceKeepsTheOldGenerationForThoseWhoHoldIt) {
  const auto store = MakeStore();
  ASSERT_TRUE(Load(*store, "a", "one").ok());
  std::optional<AdapterHandle> old = Bound(*store, "a");
  const auto replaced = Load(*store, "a", "two");
  ASSERT_TRUE(replaced.ok()) << replaced.status();
  EXPECT_EQ(replaced->generation, 2);
  EXPECT_EQ(replaced->handles, 1) << "the old generation's";
  EXPECT_EQ(Bound(*store, "a").generation(), 2);
  EXPECT_EQ(old->generation(), 1);
  EXPECT_TRUE(backend_.IsLive(old->device()));
  EXPECT_EQ(store->device_bytes_used(), 2 * bytes_);
  old.reset();
  ExpectBytes(*store, bytes_);
  EXPECT_EQ(backend_.live(), 1);
}

TEST_F(AdapterStoreTest, UnloadAfterAReplaceWaitsForBothGenerations) {
  const auto store = MakeStore();
  ASSERT_TRUE(Load(*store, "a", "one").ok());
  std::optional<AdapterHandle> old = Bound(*store, "a");
  ASSERT_TRUE(Load(*store, "a", "two").ok());
  Pending unload;
  store->Unload("a", unload.done());
  EXPECT_FALSE(unload.ready());
  old.reset();
  EXPECT_TRUE(unload.Wait().ok());
}

TEST_F(AdapterStoreTest, GenerationsAscendOverTheStoresLife) {
  const auto store = MakeStore();
  EXPECT_EQ(Load(*store, "a", "one")->generation, 1);
  EXPECT_EQ(Load(*store, "b", "one")->generation, 2);
  EXPECT_TRUE(Unload(*store, "a").ok());
  EXPECT_EQ(Load(*store, "a", "one")->generation, 3) << "a name that comes back is not what it was";
}

TEST_F(AdapterStoreTest, ConflictsAreAborted) {
  const auto store = MakeStore();
  backend_.CloseGate();
  Pending first;
  store->Load("a", "one", first.done());
  backend_.AwaitAtGate(1);
  EXPECT_EQ(store->Acquire("a").status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(Load(*store, "a", "two").status().code(), absl::StatusCode::kAborted);
  EXPECT_EQ(Unload(*store, "a").status().code(), absl::StatusCode::kAborted);
  backend_.OpenGate();
  ASSERT_TRUE(first.Wait().ok());

  backend_.CloseGate();
  Pending replace;
  store->Load("a", "two", replace.done());
  backend_.AwaitAtGate(1);
  EXPECT_EQ(Bound(*store, "a").generation(), 1) << "serves while it is replaced";
  EXPECT_EQ(Unload(*store, "a").status().code(), absl::StatusCode::kAborted);
  backend_.OpenGate();
  ASSERT_TRUE(replace.Wait().ok());

  std::optional<AdapterHandle> handle = Bound(*store, "a");
  Pending unload;
  store->Unload("a", unload.done());
  EXPECT_EQ(Load(*store, "a", "one").status().code(), absl::StatusCode::kAborted);
  handle.reset();
  EXPECT_TRUE(unload.Wait().ok());
  EXPECT_EQ(Unload(*store, "a").status().code(), absl::StatusCode::kNotFound);
}

TEST_F(AdapterStoreTest, WatchersSeeEveryChangeInOrder) {
  const auto store = MakeStore();
  ASSERT_TRUE(Load(*store, "before", "one").ok());
  Watched watched(*store);
  EXPECT_TRUE(Load(*store, "a", "one").ok());
  EXPECT_FALSE(Load(*store, "a", "bad").ok());
  EXPECT_TRUE(Load(*store, "a", "two").ok());
  EXPECT_TRUE(Unload(*store, "a").ok());
  EXPECT_FALSE(Load(*store, "b", "bad").ok());
  EXPECT_TRUE(Load(*store, "b", "one").ok());
  const std::vector<std::string> events = watched.Take();
  EXPECT_TRUE(Unload(*store, "before").ok());
  EXPECT_THAT(events, ElementsAre("a loading 0", "a available 2", "a available 2 error", "a available 3",
                                  "a unloading 3", "a unloaded 3", "b loading 0", "b failed 0 error",
                                  "b loading 0", "b available 4"));
}

TEST_F(AdapterStoreTest, StoppingAnswersTheLoadsThatWait) {
  auto store = MakeStore();
  backend_.CloseGate();
  std::vector<Pending> loads(3);
  for (int i = 0; i < 3; ++i) store->Load("a" + std::to_string(i), "one", loads[i].done());
  backend_.AwaitAtGate(1);
  std::thread stop([&] { store.reset(); });
  backend_.OpenGate();
  stop.join();
  for (Pending& load : loads) EXPECT_TRUE(load.ready());
  EXPECT_EQ(backend_.live(), 0);
  EXPECT_EQ(backend_.live_bytes(), 0);
}

// An MoA's experts are charged one by one, and go back together.
}  // namespace
}  // namespace hydrad
