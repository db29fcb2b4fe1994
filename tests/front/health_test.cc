#include "server/front/health.h"

#include <gtest/gtest.h>

#include <vector>

namespace hydrad {
namespace {

using std::chrono::seconds;

SchedulerStatus Beat(Duration since, bool draining = false) {
  SchedulerStatus status;
  status.since_heartbeat = since;
  status.draining = draining;
  return status;
}

TEST(JudgeTest, Table) {
  const Health good = {.live = true, .ready = true};
  const Health leaving = {.live = true, .ready = false};
  const Health stuck = {.live = false, .ready = false};
  EXPECT_EQ(Judge(Beat(seconds(0)), false, true, seconds(5)), good);
  EXPECT_EQ(Judge(Beat(seconds(5)), false, true, seconds(5)), good);
  EXPECT_EQ(Judge(Beat(seconds(6)), false, true, seconds(5)), stuck);
  EXPECT_EQ(Judge(Beat(seconds(0)), true, true, seconds(5)), leaving);
  EXPECT_EQ(Judge(Beat(seconds(0), true), false, true, seconds(5)), leaving);
  EXPECT_EQ(Judge(Beat(seconds(6), true), true, true, seconds(5)), stuck);
  EXPECT_EQ(Judge(Beat(seconds(0)), false, false, seconds(5)), stuck);
}

// What the monitor's thread is told and tells.
class HealthMonitorTest : public testing::Test {
 protected:
  std::unique_ptr<HealthMonitor> Make(Duration interval) {
    return std::make_unique<HealthMonitor>(
        HealthOptions{.heartbeat_limit = seconds(5), .interval = interval},
        [this] {
          MutexLock lock(&mu_);
          return Beat(since_);
        },
        [] { return true; },
        [this](const Health& health) {
          MutexLock lock(&mu_);
          published_.push_back(health);
        },
        [this] {
          MutexLock lock(&mu_);
          ++ticks_;
        });
  }
  std::vector<Health> AwaitPublished(size_t count) {
    MutexLock lock(&mu_);
    mu_.Await([&]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return published_.size() >= count; });
    return published_;
  }
  void SetSince(Duration since) {
    MutexLock lock(&mu_);
    since_ = since;
  }

  Mutex mu_;
  Duration since_{};
  std::vector<Health> published_;
  int ticks_ = 0;
};

TEST_F(HealthMonitorTest, FollowsTheHeartbeat) {
  auto monitor = Make(std::chrono::milliseconds(1));
  EXPECT_TRUE(AwaitPublished(1)[0].ready);
  SetSince(seconds(6));
  EXPECT_FALSE(AwaitPublished(2)[1].live);
  SetSince(seconds(0));
  EXPECT_TRUE(AwaitPublished(3)[2].ready);
}

TEST_F(HealthMonitorTest, PublishesOnlyChanges) {
  auto monitor = Make(std::chrono::milliseconds(1));
  {
    MutexLock lock(&mu_);
    mu_.Await([&]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return ticks_ >= 20; });
  }
  EXPECT_EQ(AwaitPublished(1).size(), 1u);
}

TEST_F(HealthMonitorTest, DrainingIsPublishedWithoutWaitingForTheNextLook) {
  auto monitor = Make(std::chrono::hours(1));
  AwaitPublished(1);
  monitor->SetDraining();
  const std::vector<Health> published = AwaitPublished(2);
  EXPECT_TRUE(published[1].live);
  EXPECT_FALSE(published[1].ready);
}

TEST_F(HealthMonitorTest, DrainingIsPublishedBeforeTheMonitorEnds) {
  auto monitor = Make(std::chrono::hours(1));
  AwaitPublished(1);
  monitor->SetDraining();
  monitor.reset();
  ASSERT_EQ(published_.size(), 2u);
  EXPECT_FALSE(published_[1].ready);
}

TEST_F(HealthMonitorTest, EndsWithoutWaitingForTheNextLook) {
  auto monitor = Make(std::chrono::hours(1));
  monitor.reset();
  EXPECT_EQ(published_.size(), 1u);
}

}  // namespace
}  // namespace hydrad
