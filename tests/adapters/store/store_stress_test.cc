// Many threads do at random what clients and operators do; what must hold holds all the time. Fixed seeds;
// run it under ThreadSanitizer.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <latch>
#include <random>
#include <thread>

#include "server/base/log.h"
#include "tests/adapters/store/store_fixture.h"

namespace hydrad {
namespace {

class StoreStressTest : public StoreFixture {
 protected:
  static constexpr int kThreads = 4, kSteps = 400, kNames = 3;

  // One thread's share of the turmoil, which begins when all of them hold an adapter: however the threads are
  // scheduled, there are handles for the first unload and replace to meet.
  void Run(AdapterStore& store, uint32_t seed, std::latch& all_hold);
  void Step(AdapterStore& store, std::mt19937& random, std::vector<AdapterHandle>& held);
  AdapterStore::Done Expect(std::vector<absl::StatusCode> allowed) {
    ++asked_;
    return [this, allowed](const absl::StatusOr<AdapterInfo>& info) {
      EXPECT_NE(std::find(allowed.begin(), allowed.end(), info.status().code()), allowed.end())
          << info.status();
      ++answered_;
    };
  }

  std::atomic<int> asked_ = 0, answered_ = 0;
};

void StoreStressTest::Step(AdapterStore& store, std::mt19937& random, std::vector<AdapterHandle>& held) {
  using Code = absl::StatusCode;
  const std::string name = "a" + std::to_string(random() % kNames);
  switch (random() % 16) {
    case 0:
      return store.Unload(name, Expect({Code::kOk, Code::kNotFound, Code::kAborted}));
    case 1:
      return store.Load(name, "bad", Expect({Code::kInvalidArgument, Code::kAborted, Code::kCancelled}));
    case 2:
    case 3:
      return store.Load(name, random() % 2 ? "one" : "two",
                        Expect({Code::kOk, Code::kAborted, Code::kResourceExhausted, Code::kCancelled}));
    case 4:
      store.Get(name).IgnoreError();
      EXPECT_LE(store.List().size(), kNames);
      EXPECT_LE(store.device_bytes_used(), store.device_bytes_budget());
      return;
    case 5:
      return store.ValidateOnly(name, "one", Expect({Code::kOk, Code::kResourceExhausted, Code::kCancelled}));
    default:
      if (!held.empty() && random() % 2) {
        std::swap(held[random() % held.size()], held.back());
        EXPECT_TRUE(backend_.IsLive(held.back().device())) << "an acquired generation is never freed";
        held.pop_back();
      } else if (auto handle = store.Acquire(name); handle.ok()) {
        EXPECT_EQ(handle->name(), name);
        // Who holds nothing can wait for as long as it takes: those who hold give up, and let go at the end.
        for (int i = 0; (i < 1000 || held.empty()) && handle->status().ok() && !handle->Bind(); ++i) {
          std::this_thread::yield();
        }
        if (!handle->bound()) return;  // given up: a request may be cancelled while it waits
        EXPECT_TRUE(backend_.IsLive(handle->device()));
        if (held.size() < 8) held.push_back(*std::move(handle));
      } else {
        EXPECT_NE(handle.status().code(), Code::kInternal) << handle.status();
      }
  }
}

void StoreStressTest::Run(AdapterStore& store, uint32_t seed, std::latch& all_hold) {
  std::mt19937 random(seed);
  std::vector<AdapterHandle> held;
  held.push_back(Bound(store, "a0"));
  all_hold.arrive_and_wait();
  for (int i = 0; i < kSteps; ++i) Step(store, random, held);
  for (const AdapterHandle& handle : held) EXPECT_TRUE(backend_.IsLive(handle.device()));
}

// The order of one name's events is that of the state machine, and generations only go up.
struct NameHistory {
  AdapterState state = AdapterState::kUnloaded;
  uint64_t generation = 0;

  void Check(const AdapterEvent& event) {
    const AdapterInfo& info = event.info;
    if (event.change != AdapterChange::kState && event.change != AdapterChange::kLoaded) {
      EXPECT_EQ(info.state, state);  // only its place has changed
      return;
    }
    using S = AdapterState;
    const std::vector<std::pair<S, S>> legal = {
        {S::kUnloaded, S::kLoading},    {S::kLoading, S::kAvailable}, {S::kLoading, S::kFailed},
        {S::kFailed, S::kLoading},      {S::kFailed, S::kUnloaded},   {S::kAvailable, S::kAvailable},
        {S::kAvailable, S::kUnloading}, {S::kUnloading, S::kUnloaded}};
    EXPECT_NE(std::find(legal.begin(), legal.end(), std::pair(state, info.state)), legal.end())
        << Name(state) << " -> " << Name(info.state);
    if (info.state == S::kAvailable) {
      EXPECT_GE(info.generation, generation);
      generation = info.generation;
    }
    state = info.state;
  }
};

TEST_F(StoreStressTest, InvariantsHoldInAnyOrderOfThings) {
  Log()->set_level(spdlog::level::err);  // each bad load warns
  for (uint32_t seed = 1; seed <= 3; ++seed) {
    auto store = MakeStore({.device_bytes = 5 * bytes_, .host_bytes = 3 * host_bytes_, .loader_threads = 2});
    std::map<std::string, NameHistory> histories;  // under the store's event lock
    store->AddWatcher([&](const AdapterEvent& event) { histories[event.info.name].Check(event); });
    EXPECT_TRUE(Load(*store, "a0", "one").ok());
    std::latch all_hold(kThreads);
    std::vector<std::thread> threads;
    for (int t = 0; t < kThreads; ++t) {
      threads.emplace_back([&, t] { Run(*store, 100 * seed + t, all_hold); });
    }
    for (std::thread& thread : threads) thread.join();

    // Every handle is gone; stopping answers what waits, and every byte is back.
    store.reset();
    EXPECT_EQ(asked_, answered_);
    EXPECT_EQ(backend_.live(), 0);
    EXPECT_EQ(backend_.live_bytes(), 0);
  }
  Log()->set_level(spdlog::level::info);
}

// Requests hold generations for a while, an operator replaces the adapter under them: no acquire ever fails.
TEST_F(StoreStressTest, ReplacingNeverFailsARequest) {
  const auto store = MakeStore();
  ASSERT_TRUE(Load(*store, "a", "one").ok());
  std::atomic<bool> stop = false;
  std::vector<std::thread> clients;
  for (int t = 0; t < 3; ++t) {
    clients.emplace_back([&] {
      uint64_t last = 0;
      while (!stop) {
        const AdapterHandle handle = Bound(*store, "a");
        EXPECT_GE(handle.generation(), last) << "new requests never get an older one";
        last = handle.generation();
        EXPECT_TRUE(backend_.IsLive(handle.device()));
      }
    });
  }
  for (int i = 0; i < 30; ++i) EXPECT_TRUE(Load(*store, "a", i % 2 ? "one" : "two").ok());
  stop = true;
  for (std::thread& client : clients) client.join();
  ExpectBytes(*store, bytes_);  // one generation is left
  EXPECT_EQ(store->Get("a")->handles, 0);
  EXPECT_TRUE(Unload(*store, "a").ok());
  EXPECT_EQ(store->device_bytes_used(), 0);
  EXPECT_EQ(backend_.live(), 0);
}

}  // namespace
}  // namespace hydrad
