#include "server/adapters/store/notifier.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "server/base/status.h"
#include "tests/fakes/fake_clock.h"

namespace hydrad {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

class NotifierTest : public testing::Test {
 protected:
  // A load of `name` begins, which is one event.
  void BeginLoad(const std::string& name) {
    MutexLock lock(&state_.mu);
    state_.catalogue.BeginLoad(name, "path");
  }
  AdapterStore::Event Tell(const std::string& who) {
    return [this, who](const AdapterEvent& event) { told_.push_back(who + " " + event.info.name); };
  }

  FakeClock clock_;
  StoreState state_{{}, /*layers=*/1, clock_};
  Notifier notifier_{state_};
  std::vector<std::string> told_;
};

TEST_F(NotifierTest, WatchersAreToldOfWhatComesAfterThem) {
  BeginLoad("before");
  const uint64_t first = notifier_.AddWatcher(Tell("first"));
  BeginLoad("a");
  BeginLoad("b");
  notifier_.DeliverEvents();
  EXPECT_THAT(told_, ElementsAre("first a", "first b"));
  notifier_.AddWatcher(Tell("second"));
  notifier_.RemoveWatcher(first);
  BeginLoad("c");
  notifier_.Settle();
  EXPECT_THAT(told_, ElementsAre("first a", "first b", "second c"));
}

TEST_F(NotifierTest, RequestsAreWokenOnceForWhatHasChanged) {
  int woken = 0;
  notifier_.SetWaker([&] { ++woken; });
  notifier_.Settle();
  EXPECT_EQ(woken, 0);
  {
    MutexLock lock(&state_.mu);
    state_.catalogue.WakeRequests();
    state_.catalogue.WakeRequests();
  }
  notifier_.Settle();
  notifier_.Settle();
  EXPECT_EQ(woken, 1);
}

TEST_F(NotifierTest, MemoryIsBackWhenItReturns) {
  auto value = std::make_shared<const HostComponent>();
  const std::weak_ptr<const HostComponent> there = value;
  {
    MutexLock lock(&state_.mu);
    const Catalogue::EntryPtr entry = state_.catalogue.BeginLoad("a", "path");
    const ComponentId id = state_.residency.Add(entry, {"path", "digest", 10, 10});
    ++entry->components;
    Residency::Evicted evicted;
    ASSERT_EQ(state_.residency.ReserveHost(id, 10, &evicted), Residency::Room::kYes);
    ASSERT_TRUE(state_.residency.FillHost(id, {"path", "digest", 10, 10}, std::move(value), &evicted));
    state_.residency.EndWork(id);  // of no generation: it goes
    EXPECT_EQ(state_.residency.host_used(), 10u);
  }
  notifier_.GiveMemoryBack();
  EXPECT_TRUE(there.expired());
  MutexLock lock(&state_.mu);
  EXPECT_EQ(state_.residency.host_used(), 0u);
  EXPECT_EQ(state_.catalogue.Find("a")->components, 0);
}

TEST_F(NotifierTest, EventsComeBeforeTheAnswersOfUnloads) {
  notifier_.AddWatcher(Tell("watcher"));
  {
    MutexLock lock(&state_.mu);
    const Catalogue::EntryPtr entry = state_.catalogue.BeginLoad("a", "path");
    state_.catalogue.FailLoad(*entry, Internal("x"), 0);
    state_.unloads.Ask(entry);
    state_.unloads.Begin(
        entry, [&](const absl::StatusOr<AdapterInfo>&) { told_.push_back("answer"); }, false);
  }
  EXPECT_THAT(told_, IsEmpty());
  notifier_.Settle();
  EXPECT_THAT(told_, ElementsAre("watcher a", "watcher a", "watcher a", "answer"));
}

}  // namespace
}  // namespace hydrad
