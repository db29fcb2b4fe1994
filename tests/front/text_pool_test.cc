#include "server/front/text_pool.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>

#include "server/base/status.h"
#include "server/front/cancel_point.h"

namespace hydrad {
namespace {

using testing::ElementsAre;

class TextPoolTest : public testing::Test {
 protected:
  void Make(TextPoolOptions options) { pool_ = std::make_unique<TextPool>(options); }

  // A job that writes down its name when it is done.
  TextJob Job(const std::string& name, size_t bytes = 1, absl::Status wanted = absl::OkStatus()) {
    return {.bytes = bytes,
            .wanted = [wanted] { return wanted; },
            .run =
                [this, name](const absl::Status& status) {
                  MutexLock lock(&mu_);
                  done_.push_back(status.ok() ? name : name + " " + std::string(status.message()));
                }};
  }
  // Keeps a thread busy until Release; returns when it does.
  void Occupy(const std::string& tenant) {
    std::promise<void> begun;
    ASSERT_TRUE(pool_
                    ->Submit(tenant, {.bytes = 1,
                                      .wanted = [] { return absl::OkStatus(); },
                                      .run =
                                          [this, &begun](const absl::Status&) {
                                            begun.set_value();
                                            released_.wait();
                                          }})
                    .ok());
    begun.get_future().wait();
  }
  void Release() { release_.set_value(); }
  std::vector<std::string> AwaitDone(size_t count) {
    MutexLock lock(&mu_);
    mu_.Await([&]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return done_.size() == count; });
    return done_;
  }

  std::promise<void> release_;
  std::shared_future<void> released_ = release_.get_future().share();
  Mutex mu_;
  std::vector<std::string> done_ ABSL_GUARDED_BY(mu_);
  std::unique_ptr<TextPool> pool_;  // last: its jobs use the rest
};

TEST_F(TextPoolTest, TenantsTakeTurns) {
  Make({.threads = 1});
  Occupy("z");
  for (const char* name : {"a1", "a2", "a3"}) ASSERT_TRUE(pool_->Submit("a", Job(name)).ok());
  for (const char* name : {"b1", "b2"}) ASSERT_TRUE(pool_->Submit("b", Job(name)).ok());
  ASSERT_TRUE(pool_->Submit("c", Job("c1")).ok());
  EXPECT_EQ(pool_->waiting(), 6u);
  Release();
  EXPECT_THAT(AwaitDone(6), ElementsAre("a1", "b1", "c1", "a2", "b2", "a3"));
}

TEST_F(TextPoolTest, ATenantHasOneThreadAtATime) {
  Make({.threads = 2});
  Occupy("a");
  ASSERT_TRUE(pool_->Submit("a", Job("a1")).ok());
  ASSERT_TRUE(pool_->Submit("b", Job("b1")).ok());
  EXPECT_THAT(AwaitDone(1), ElementsAre("b1")) << "the other thread is for others";
  Release();
  EXPECT_THAT(AwaitDone(2), ElementsAre("b1", "a1"));
}

TEST_F(TextPoolTest, SharesAreBounded) {
  Make({.threads = 1, .tenant_jobs = 2, .tenant_bytes = 100, .jobs = 4, .bytes = 1000});
  Occupy("z");
  EXPECT_TRUE(pool_->Submit("a", Job("a1")).ok());
  EXPECT_TRUE(pool_->Submit("a", Job("a2")).ok());
  EXPECT_EQ(pool_->Submit("a", Job("a3")).code(), absl::StatusCode::kResourceExhausted) << "its jobs";
  EXPECT_TRUE(pool_->Submit("b", Job("b1", 200)).ok()) << "one may be large";
  EXPECT_EQ(pool_->Submit("b", Job("b2")).code(), absl::StatusCode::kResourceExhausted) << "its bytes";
  EXPECT_EQ(pool_->Submit("c", Job("c1", 900)).code(), absl::StatusCode::kResourceExhausted) << "all bytes";
  EXPECT_TRUE(pool_->Submit("c", Job("c2")).ok());
  EXPECT_EQ(pool_->Submit("d", Job("d1")).code(), absl::StatusCode::kResourceExhausted) << "all jobs";
  Release();
  EXPECT_EQ(AwaitDone(4).size(), 4u);
  EXPECT_TRUE(pool_->Submit("a", Job("a4", 100)).ok());
  AwaitDone(5);
}

TEST_F(TextPoolTest, WhatIsNoLongerWantedIsNotDone) {
  Make({.threads = 1});
  ASSERT_TRUE(pool_->Submit("a", Job("a1", 1, Cancelled("gone"))).ok());
  EXPECT_THAT(AwaitDone(1), ElementsAre("a1 gone"));
}

TEST_F(TextPoolTest, TheEndIsToldToThoseThatWait) {
  Make({.threads = 1});
  Occupy("a");
  ASSERT_TRUE(pool_->Submit("a", Job("a1")).ok());
  ASSERT_TRUE(pool_->Submit("b", Job("b1")).ok());
  std::thread end([this] { pool_ = nullptr; });
  Release();
  end.join();
  MutexLock lock(&mu_);
  EXPECT_EQ(done_.size(), 2u) << "done or told, as it came";
}

TEST(CancelPointTest, ReachesWhoeverHasTheCall) {
  std::string told;
  const auto tell = [&told](const absl::Status& why) { told += std::string(why.message()) + ";"; };
  CancelPoint early;
  EXPECT_TRUE(early.status().ok());
  early.Cancel(Cancelled("early"));
  early.Cancel(Cancelled("again"));
  EXPECT_EQ(early.status().message(), "early");
  early.Bind(tell);
  EXPECT_EQ(told, "early;");
  CancelPoint late;
  late.Bind(tell);
  late.Cancel(Cancelled("late"));
  late.Cancel(Cancelled("again"));
  EXPECT_EQ(told, "early;late;");
}

}  // namespace
}  // namespace hydrad
