// What can never be on the device is told so: at once, and when a pin or a replace makes it so.
#include <fmt/core.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <optional>

#include "server/adapters/store/journal.h"
#include "server/base/reason.h"
#include "tests/adapters/store/store_fixture.h"
#include "tests/fakes/fake_log_directory.h"

namespace hydrad {
namespace {

using testing::HasSubstr;
using Code = absl::StatusCode;

// "large" needs more of the device than "one"; there is room for one of each.
class StoreRoomTest : public StoreFixture {
 protected:
  StoreRoomTest() {
    disk_.Put("large", Hydra(7).Bytes());
    const AdapterContents contents = *ReadAdapter(disk_, "large", TinyModel().adapter_shape(), 1 << 20);
    large_ = backend_.AdapterBytes(contents.weights, TinyModel().adapter_shape());
    EXPECT_GT(large_, bytes_);
    options_ = {.device_bytes = bytes_ + large_};
  }
  static absl::StatusOr<AdapterInfo> Pin(AdapterStore& store, const std::string& name, bool pinned = true) {
    Pending pin;
    store.Pin(name, pinned, pin.done());
    return pin.Wait();
  }
  static void ExpectNoRoom(const absl::Status& status, const std::string& text) {
    EXPECT_EQ(status.code(), Code::kResourceExhausted) << status;
    EXPECT_EQ(ReasonGiven(status).value_or(""), "NO_ROOM");
    EXPECT_THAT(std::string(status.message()), HasSubstr(text));
  }

  size_t large_ = 0;
  AdapterStoreOptions options_;
};

TEST_F(StoreRoomTest, ACompositionThatDoesNotFitIsRefusedAndHarmsNobody) {
  const auto store = MakeStore({.device_bytes = 2 * bytes_});
  for (const char* name : {"a", "b", "c"}) ASSERT_TRUE(Load(*store, name, "one").ok());
  ExpectNoRoom(store->AcquireAll({"a", "b", "c"}).status(), fmt::format("{} bytes", 3 * bytes_));
  EXPECT_EQ(store->Get("a")->handles, 0);
  EXPECT_EQ(Bound(*store, "c").generation(), 3u);
  auto two = *store->AcquireAll({"a", "b"});
  EXPECT_TRUE(Eventually([&] { return two[0].ready() && two[1].ready(); }));
  EXPECT_EQ(store->AcquireAll({"a", "none"}).status().code(), Code::kNotFound);
}

TEST_F(StoreRoomTest, WhatDoesNotFitBesideThePinnedIsRefused) {
  const auto store = MakeStore(options_);
  for (const char* name : {"a", "b"}) ASSERT_TRUE(Load(*store, name, "one").ok());
  ASSERT_TRUE(Load(*store, "l", "large").ok());
  ASSERT_TRUE(Pin(*store, "a").ok());
  EXPECT_EQ(Bound(*store, "l").generation(), 3u) << "it fits beside one";
  ASSERT_TRUE(Pin(*store, "b").ok());
  ExpectNoRoom(store->Acquire("l").status(), fmt::format("take {}", 2 * bytes_));
  ExpectNoRoom(Pin(*store, "l").status(), "the pinned adapters would take");
  EXPECT_TRUE(store->AcquireAll({"a", "b"}).ok());
  ASSERT_TRUE(Pin(*store, "b", false).ok());
  EXPECT_EQ(Bound(*store, "l").generation(), 3u);
}

TEST_F(StoreRoomTest, RequestsThatWaitAreToldWhenAPinTakesTheirRoom) {
  const auto store = MakeStore(options_);
  for (const char* name : {"a", "b"}) ASSERT_TRUE(Load(*store, name, "one").ok());
  ASSERT_TRUE(Load(*store, "l", "large").ok());
  std::optional<AdapterHandle> a = Bound(*store, "a"), b = Bound(*store, "b");
  const AdapterHandle waiting = *store->Acquire("l");
  EXPECT_TRUE(Eventually([&] { return waiting.blocked(); }));
  ASSERT_TRUE(Pin(*store, "a").ok());
  EXPECT_TRUE(waiting.status().ok()) << "b will end";
  ASSERT_TRUE(Pin(*store, "b").ok());
  ExpectNoRoom(waiting.status(), "adapter 'l'");
}

TEST_F(StoreRoomTest, AndWhenAReplaceHasGrown) {
  const auto store = MakeStore(options_);
  for (const char* name : {"a", "b", "c"}) ASSERT_TRUE(Load(*store, name, "one").ok());
  auto both = *store->AcquireAll({"a", "b"});
  ASSERT_TRUE(Load(*store, "b", "large").ok());
  EXPECT_TRUE(both[0].status().ok() && both[1].status().ok()) << "it fits still";
  ExpectNoRoom(store->AcquireAll({"a", "b", "c"}).status(), "'a', 'b', 'c'");
  ASSERT_TRUE(Load(*store, "a", "large").ok());
  EXPECT_TRUE(Eventually([&] { return !both[0].status().ok() && !both[1].status().ok(); }));
  ExpectNoRoom(both[0].status(), fmt::format("{} bytes on the device", 2 * large_));
}

TEST_F(StoreRoomTest, APinnedAdapterDoesNotGrowBeyondItsRoom) {
  const auto store = MakeStore({.device_bytes = large_ + bytes_ / 2});
  for (const char* name : {"a", "b"}) {
    ASSERT_TRUE(Load(*store, name, "one").ok());
    ASSERT_TRUE(Pin(*store, name).ok());
  }
  ExpectNoRoom(Load(*store, "a", "large").status(), "the pinned adapters would take");
  EXPECT_EQ(Bound(*store, "a").generation(), 1u) << "the old one serves";
}

// With less memory than before: as many of the pinned as fit together are kept, and the others are told.
TEST_F(StoreRoomTest, AfterARestartWithLessRoom) {
  FakeLogDirectory log;
  auto store = OpenStore(log, {.device_bytes = bytes_ + large_});
  ASSERT_TRUE(Load(*store, "a", "one").ok());
  ASSERT_TRUE(Load(*store, "l", "large").ok());
  for (const char* name : {"a", "l"}) ASSERT_TRUE(Pin(*store, name).ok());
  store.reset();
  store = OpenStore(log, {.device_bytes = large_});
  std::vector<absl::StatusOr<AdapterHandle>> handles;
  for (const char* name : {"a", "l"}) handles.push_back(store->Acquire(name));
  int served = 0, refused = 0;
  for (auto& handle : handles) {
    EXPECT_TRUE(Eventually([&] { return !handle.ok() || !handle->status().ok() || handle->Bind(); }))
        << "nobody waits for ever";
    served += handle.ok() && handle->bound();
    refused += !handle.ok() || !handle->status().ok();
  }
  EXPECT_EQ(served, 1);
  EXPECT_EQ(refused, 1);
  handles.clear();
  store.reset();
  store = OpenStore(log, {.device_bytes = bytes_});
  EXPECT_TRUE(Eventually([&] { return !store->Acquire("l").ok(); }))
      << "its size is known once it has been read";
  EXPECT_EQ(Bound(*store, "a").generation(), 1u);
}

}  // namespace
}  // namespace hydrad
