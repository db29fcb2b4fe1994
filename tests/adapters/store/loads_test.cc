#include "server/adapters/store/loads.h"

#include <fmt/core.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "tests/adapters/store/store_fixture.h"

namespace hydrad {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

using LoadsTest = StoreFixture;

TEST_F(LoadsTest, FailedReplaceLeavesTheOldGenerationServing) {
  const auto store = MakeStore();
  ASSERT_TRUE(Load(*store, "a", "one").ok());
  const auto failed = Load(*store, "a", "bad");
  EXPECT_EQ(failed.status().code(), absl::StatusCode::kInvalidArgument);
  const auto info = store->Get("a");
  EXPECT_EQ(info->state, AdapterState::kAvailable);
  EXPECT_EQ(info->generation, 1);
  EXPECT_EQ(info->path, "one");
  EXPECT_EQ(info->error, failed.status());
  EXPECT_EQ(Bound(*store, "a").generation(), 1);
  EXPECT_EQ(store->device_bytes_used(), bytes_);

  EXPECT_EQ(Load(*store, "a", "two")->generation, 2);
  EXPECT_TRUE(store->Get("a")->error.ok()) << "of the last load";
}

TEST_F(LoadsTest, FailedFirstLoadIsKeptWithItsReason) {
  const auto store = MakeStore();
  EXPECT_FALSE(Load(*store, "a", "bad").ok());
  EXPECT_EQ(store->Get("a")->state, AdapterState::kFailed);
  const absl::Status status = store->Acquire("a").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("lora_B.weight': is missing"));
  EXPECT_EQ(store->device_bytes_used(), 0);

  EXPECT_TRUE(Load(*store, "a", "one").ok()) << "a failed name can be loaded again";
  EXPECT_TRUE(Unload(*store, "a").ok());
  EXPECT_FALSE(Load(*store, "a", "none").ok());
  EXPECT_EQ(Unload(*store, "a")->state, AdapterState::kUnloaded) << "and unloaded at once";
  EXPECT_TRUE(store->List().empty());
}

TEST_F(LoadsTest, LoadsRunInParallelUpToTheThreads) {
  const auto store = MakeStore({.loader_threads = 3});
  backend_.CloseGate();
  std::vector<Pending> loads(4);
  for (int i = 0; i < 4; ++i) store->Load("a" + std::to_string(i), "one", loads[i].done());
  backend_.AwaitAtGate(3);
  EXPECT_EQ(backend_.calls(), 3);
  backend_.OpenGate();
  for (Pending& load : loads) EXPECT_TRUE(load.Wait().ok());
}

TEST_F(LoadsTest, WhatIsLargerThanATierIsRefusedBeforeTheDeviceIsAsked) {
  const auto store = MakeStore({.device_bytes = bytes_ - 1});
  const auto refused = Load(*store, "c", "one");
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(refused.status().message(),
            fmt::format("one: needs {} bytes on the device, where adapters have {}", bytes_, bytes_ - 1));
  const auto narrow = MakeStore({.host_bytes = host_bytes_ - 1});
  const auto unread = Load(*narrow, "c", "one");
  EXPECT_EQ(unread.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(unread.status().message(),
            fmt::format("one: needs {} bytes of host memory, where adapters have {}", host_bytes_,
                        host_bytes_ - 1));
  EXPECT_EQ(backend_.calls(), 0);
}

TEST_F(LoadsTest, DeviceThatTakesMoreThanItSaidIsRefused) {
  const auto store = MakeStore();
  backend_.TakeExtra(1);
  EXPECT_EQ(Load(*store, "a", "one").status().code(), absl::StatusCode::kInternal);
  EXPECT_EQ(store->device_bytes_used(), 0);
  EXPECT_EQ(backend_.live(), 0);
}

TEST_F(LoadsTest, BadNamesAndPathsNeedNoDisk) {
  const auto store = MakeStore();
  const int calls = disk_.calls();
  for (const std::string& name : {std::string(""), std::string(".a"), std::string("a//b"), std::string("a b"),
                                  std::string("a\n"), std::string("\xc3\xa4"), std::string(257, 'a')}) {
    EXPECT_EQ(Load(*store, name, "one").status().code(), absl::StatusCode::kInvalidArgument) << name;
    EXPECT_EQ(store->Acquire(name).status().code(), absl::StatusCode::kNotFound) << name;
  }
  for (const char* path : {"", "/etc", "../x", "one/..", "./", "a\tb"}) {
    EXPECT_EQ(Load(*store, "a", path).status().code(), absl::StatusCode::kInvalidArgument) << path;
  }
  EXPECT_EQ(disk_.calls(), calls);
  EXPECT_TRUE(store->List().empty());
  EXPECT_TRUE(Load(*store, std::string(256, 'a'), "one").ok());
}

TEST_F(LoadsTest, NamesAreThoseOfModelsAndPathsThoseThatPeopleType) {
  const auto store = MakeStore();
  for (const char* path : {"one", "./one", "one/", ".//one//"}) {
    const auto info = Load(*store, "org/bot@v2", path);
    ASSERT_TRUE(info.ok()) << info.status();
    EXPECT_EQ(info->path, "one") << "as it is kept";
  }
  EXPECT_EQ(Bound(*store, "org/bot@v2").name(), "org/bot@v2");
  EXPECT_TRUE(Load(*store, "llama:sql", "two", {.request_id = "r"}).ok());
  EXPECT_EQ(Load(*store, "llama:sql", "two/", {.request_id = "r"})->generation, 5u) << "the same request";
}

TEST_F(LoadsTest, ValidateOnlyTellsWhatALoadWould) {
  const auto store = MakeStore({.device_bytes = bytes_});
  Pending good, bad, big;
  store->ValidateOnly("a", "one", good.done());
  const auto info = good.Wait();
  ASSERT_TRUE(info.ok()) << info.status();
  EXPECT_EQ(info->name, "a");
  EXPECT_EQ(info->state, AdapterState::kUnloaded);
  EXPECT_EQ(info->device_bytes, bytes_);
  EXPECT_EQ(info->digest, ReadAdapter(disk_, "one", TinyModel().adapter_shape(), 1 << 20)->digest);
  store->ValidateOnly("a", "bad", bad.done());
  EXPECT_EQ(bad.Wait().status().code(), absl::StatusCode::kInvalidArgument);
  store->ValidateOnly("a", "hydra", big.done());
  EXPECT_EQ(big.Wait().status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(store->List().empty());
  EXPECT_EQ(store->device_bytes_used(), 0);
  EXPECT_EQ(store->host_bytes_used(), 0);
  EXPECT_EQ(backend_.calls(), 0);
}

TEST_F(LoadsTest, NumberOfNamesAndOfWaitingLoadsIsBounded) {
  const auto store = MakeStore({.max_adapters = 3, .max_queued_loads = 1});
  backend_.CloseGate();
  Pending running, waiting, validate;
  store->Load("a", "one", running.done());
  backend_.AwaitAtGate(1);
  store->Load("b", "one", waiting.done());
  EXPECT_EQ(Load(*store, "c", "one").status().message(), "1 loads are waiting already");
  EXPECT_EQ(store->Get("c").status().code(), absl::StatusCode::kNotFound) << "a refused load leaves no name";
  store->ValidateOnly("v", "one", validate.done());
  EXPECT_EQ(validate.Wait().status().code(), absl::StatusCode::kResourceExhausted);
  backend_.OpenGate();
  EXPECT_TRUE(running.Wait().ok());
  EXPECT_TRUE(waiting.Wait().ok());
  EXPECT_TRUE(Load(*store, "c", "one").ok());
  EXPECT_EQ(Load(*store, "d", "one").status().message(), "there are 3 adapters, which is the limit");
  EXPECT_TRUE(Load(*store, "c", "two").ok()) << "a replace is no new name";
}

TEST_F(LoadsTest, LoadDurationIsReported) {
  const auto store = MakeStore();
  backend_.CloseGate();
  Pending load;
  store->Load("a", "one", load.done());
  backend_.AwaitAtGate(1);
  clock_.Advance(std::chrono::milliseconds(1500));
  backend_.OpenGate();
  EXPECT_EQ(load.Wait()->load_seconds, 1.5);
}

TEST_F(LoadsTest, WithoutARootEveryLoadIsRefused) {
  AdapterStore store({.root = ""}, backend_, TinyModel(), clock_);
  EXPECT_EQ(Load(store, "a", "one").status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(LoadsTest, AnMoaHoldsEveryExpertAndItsRows) {
  disk_.Put("mix", Moa().Bytes());
  const auto store = MakeStore();
  const auto loaded = Load(*store, "a", "mix");
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ(loaded->family, "moa");
  EXPECT_THAT(loaded->expert_names, ElementsAre("poems", "sums"));
  EXPECT_EQ(store->device_bytes_used(), loaded->device_bytes);
  EXPECT_EQ(backend_.live_bytes(), loaded->device_bytes);
  EXPECT_EQ(backend_.live(), 2);
  {
    const AdapterHandle handle = Bound(*store, "a");
    EXPECT_EQ(handle.device(), nullptr);
    ASSERT_NE(handle.mixture(), nullptr);
    EXPECT_EQ(handle.mixture()->Find("sums"), 1);
    EXPECT_EQ(handle.mixture()->router().choices(), 2);
    EXPECT_EQ(handle.mixture()->router().layers, 2);
    EXPECT_EQ(handle.mixture()->router().bias.size(), 4u);
  }
  Pending unload;
  store->Unload("a", unload.done());
  EXPECT_TRUE(unload.Wait().ok());
  EXPECT_EQ(store->device_bytes_used(), 0);
  EXPECT_EQ(backend_.live_bytes(), 0);
}

TEST_F(LoadsTest, AnMoaThatFailsHalfwayGivesBackWhatItTook) {
  disk_.Put("mix", Moa().Bytes());
  for (int call = 1; call <= 4; ++call) {  // two experts: a change and rows of the routers each
    const auto store = MakeStore();
    backend_.FailLoad(backend_.calls() + call);
    EXPECT_EQ(Load(*store, "a", "mix").status().code(), absl::StatusCode::kInternal);
    EXPECT_EQ(store->device_bytes_used(), 0);
    EXPECT_EQ(backend_.live_bytes(), 0);
  }
  backend_.FailLoad(0);
  AdapterStoreOptions tight;
  tight.device_bytes = bytes_;
  const auto store = MakeStore(tight);
  EXPECT_EQ(Load(*store, "a", "mix").status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(backend_.live_bytes(), 0);
}

}  // namespace
}  // namespace hydrad
