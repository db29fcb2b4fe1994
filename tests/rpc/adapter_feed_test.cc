#include "server/rpc/adapter_feed.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/fakes/fake_clock.h"

namespace hydrad {
namespace {

using testing::ElementsAre;

AdapterInfo Info(const std::string& name, AdapterState state) {
  AdapterInfo info;
  info.name = name;
  info.state = state;
  return info;
}

using Queue = MessageQueue<v1::AdapterEvent>;

class AdapterFeedTest : public testing::Test {
 protected:
  std::vector<std::string> Told() {
    std::vector<std::string> told;
    v1::AdapterEvent event;
    size_t bytes = 0;
    while ((last_ = queue_->Take(&event, &bytes, &status_)) == Queue::Next::kMessage) {
      told.push_back(event.adapter().name() + " " + v1::Adapter::State_Name(event.adapter().state()));
      EXPECT_GT(event.time().seconds(), 0);
    }
    return told;
  }

  std::shared_ptr<Queue> queue_ = std::make_shared<Queue>([] {});
  AdapterFeed feed_{queue_};
  absl::Status status_;
  Queue::Next last_ = Queue::Next::kNothing;
};

TEST_F(AdapterFeedTest, TheSnapshotThenEachChange) {
  feed_.Begin({Info("a", AdapterState::kAvailable), Info("b", AdapterState::kLoading)});
  feed_.Event({Info("b", AdapterState::kAvailable)});
  EXPECT_THAT(Told(), ElementsAre("a AVAILABLE", "b LOADING", "b AVAILABLE"));
}

TEST_F(AdapterFeedTest, EventsDuringTheSnapshotFollowIt) {
  feed_.Event({Info("a", AdapterState::kAvailable)});
  feed_.Event({Info("a", AdapterState::kUnloading)});
  feed_.Begin({Info("a", AdapterState::kAvailable)});
  EXPECT_EQ(Told().back(), "a UNLOADING") << "the last word is how it stands";
}

TEST_F(AdapterFeedTest, AWatcherThatFallsBehindIsTold) {
  FakeClock clock;
  queue_->set_account(std::make_shared<UnreadOutput>(UnreadBounds{.stream_bytes = 1000}, clock)
                          ->Open("admin", [](const absl::Status&) {}));
  feed_.Begin({});
  for (int i = 0; i < 6; ++i) feed_.Event({Info("a", AdapterState::kAvailable)});
  EXPECT_TRUE(Told().empty());
  EXPECT_EQ(last_, Queue::Next::kEnd);
  EXPECT_EQ(status_.code(), absl::StatusCode::kResourceExhausted);
}

}  // namespace
}  // namespace hydrad
