#include "server/front/unread_output.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "server/front/error_details.h"
#include "tests/fakes/fake_clock.h"

namespace hydrad {
namespace {

using std::chrono::seconds;
using testing::ElementsAre;
using testing::HasSubstr;

class UnreadOutputTest : public testing::Test {
 protected:
  using Account = std::shared_ptr<UnreadOutput::Account>;

  Account Open(const std::string& name, const std::string& tenant = "acme") {
    return unread_->Open(tenant, [this, name](const absl::Status& why) {
      EXPECT_EQ(why.code(), absl::StatusCode::kResourceExhausted);
      EXPECT_EQ(ReasonOf(why), "READER_STALLED");
      ended_.push_back(name);
      why_ = std::string(why.message());
    });
  }

  FakeClock clock_;
  const std::shared_ptr<UnreadOutput> unread_ = std::make_shared<UnreadOutput>(
      UnreadBounds{.stream_bytes = 100, .tenant_bytes = 250, .stall = seconds(30)}, clock_);
  std::vector<std::string> ended_;
  std::string why_;
};

TEST_F(UnreadOutputTest, AnAnswerIsRefusedMoreThanItsBound) {
  const Account a = Open("a");
  EXPECT_TRUE(a->Add(60));
  EXPECT_TRUE(a->Add(40));
  EXPECT_FALSE(a->Add(1));
  EXPECT_EQ(unread_->bytes(), 100u);
  a->Remove(40);
  EXPECT_TRUE(a->Add(1));
  EXPECT_TRUE(ended_.empty()) << "a refusal is for the asker alone";
  EXPECT_EQ(ReasonOf(a->TooLarge()), "READER_STALLED");
}

TEST_F(UnreadOutputTest, OneMessageIsNeverTooLargeForItsAnswer) {
  const Account a = Open("a");
  EXPECT_TRUE(a->Add(200));
  a->AddSent(30);
  EXPECT_FALSE(a->Add(1));
  EXPECT_EQ(unread_->bytes(), 230u);
}

TEST_F(UnreadOutputTest, ATenantsLargestAnswerMakesRoom) {
  const Account a = Open("a"), b = Open("b"), c = Open("c"), other = Open("other", "globex");
  EXPECT_TRUE(other->Add(100));
  EXPECT_TRUE(a->Add(90));
  EXPECT_TRUE(b->Add(100));
  EXPECT_TRUE(c->Add(50));
  EXPECT_TRUE(c->Add(20)) << "who holds little is not hurt";
  EXPECT_THAT(ended_, ElementsAre("b"));
  EXPECT_THAT(why_, HasSubstr("'acme'"));
  EXPECT_EQ(unread_->bytes(), 100u + 90 + 70);
  EXPECT_FALSE(b->Add(1));
  b->Remove(100);
  EXPECT_EQ(unread_->bytes(), 260u) << "its bytes went when it ended";
}

TEST_F(UnreadOutputTest, AnAnswerMayBeItsTenantsLargestItself) {
  const Account a = Open("a");
  EXPECT_FALSE(a->Add(251));
  EXPECT_THAT(ended_, ElementsAre("a"));
  EXPECT_EQ(unread_->bytes(), 0u);
}

TEST_F(UnreadOutputTest, WhatTheTransportHoldsTooLongIsEnded) {
  const Account slow = Open("slow"), reads = Open("reads"), idle = Open("idle");
  for (const Account& account : {slow, reads}) {
    account->Add(10);
    account->SendBegins();
  }
  clock_.Advance(seconds(29));
  unread_->Sweep();
  EXPECT_TRUE(ended_.empty());
  reads->SendEnds();
  reads->SendBegins();
  clock_.Advance(seconds(1));
  unread_->Sweep();
  EXPECT_THAT(ended_, ElementsAre("slow"));
  EXPECT_EQ(why_, "the reader took nothing for 30 seconds");
  unread_->Sweep();
  EXPECT_EQ(unread_->ended(), 1) << "once";
  EXPECT_EQ(unread_->bytes(), 10u);
  reads->SendEnds();
  clock_.Advance(std::chrono::hours(1));
  unread_->Sweep();
  EXPECT_EQ(unread_->ended(), 1) << "nothing waits for these";
}

TEST_F(UnreadOutputTest, AnAccountGivesBackWhatItHolds) {
  {
    const Account a = Open("a");
    a->Add(80);
    a->SendBegins();
  }
  EXPECT_EQ(unread_->bytes(), 0u);
  clock_.Advance(seconds(60));
  unread_->Sweep();
  EXPECT_TRUE(ended_.empty());
}

TEST_F(UnreadOutputTest, AnAccountMayOutliveItsBooks) {
  Account a;
  {
    const auto books = std::make_shared<UnreadOutput>(UnreadBounds{}, clock_);
    a = books->Open("acme", [](const absl::Status&) {});
  }
  EXPECT_TRUE(a->Add(10));
}

// Answers come and go while others push them out and a sweep looks for those that stall.
TEST(UnreadOutputThreadsTest, TheBooksBalance) {
  FakeClock clock;
  const auto unread = std::make_shared<UnreadOutput>(
      UnreadBounds{.stream_bytes = 100, .tenant_bytes = 300, .stall = Duration(0)}, clock);
  std::atomic<int64_t> told = 0;
  std::atomic<bool> stop = false;
  std::thread sweeper([&] {
    while (!stop) unread->Sweep();
  });
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 2000; ++i) {
        const auto account = unread->Open(i % 2 == 0 ? "a" : "b", [&told](const absl::Status&) { ++told; });
        for (int n = 0; n < 4; ++n) account->Add(static_cast<size_t>(30 + t));
        if (i % 3 == 0) account->SendBegins();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  stop = true;
  sweeper.join();
  EXPECT_EQ(unread->bytes(), 0u);
  EXPECT_LE(told, unread->ended());
}

}  // namespace
}  // namespace hydrad
