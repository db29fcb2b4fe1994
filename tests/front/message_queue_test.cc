#include "server/front/message_queue.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <thread>

#include "server/base/status.h"
#include "server/front/error_details.h"
#include "tests/fakes/fake_clock.h"

namespace hydrad {
namespace {

struct Chunk {
  int choice = 0;
  std::string text;
};
size_t MemoryOf(const Chunk& chunk) { return 100 + chunk.text.size(); }

using Queue = MessageQueue<Chunk>;

Chunk Text(const std::string& text) { return {.choice = 0, .text = text}; }

class MessageQueueTest : public testing::Test {
 protected:
  // Charged to an account with room for `bytes`.
  void Charge(size_t bytes) {
    unread_ = std::make_shared<UnreadOutput>(UnreadBounds{.stream_bytes = bytes}, clock_);
    queue_->set_account(unread_->Open("acme", [](const absl::Status&) {}));
  }
  Queue::Next Take() { return queue_->Take(&message_, &bytes_, &status_); }

  int wakes_ = 0;
  FakeClock clock_;
  std::shared_ptr<UnreadOutput> unread_;
  std::unique_ptr<Queue> queue_ = std::make_unique<Queue>([this] { ++wakes_; });
  Chunk message_;
  size_t bytes_ = 0;
  absl::Status status_;
};

TEST_F(MessageQueueTest, HandsOutInOrderAndEndsWell) {
  EXPECT_TRUE(queue_->Push(Text("a")));
  EXPECT_TRUE(queue_->Push(Text("b")));
  queue_->Close(absl::OkStatus(), Text("last"));
  EXPECT_EQ(Take(), Queue::Next::kMessage);
  EXPECT_EQ(message_.text, "a");
  EXPECT_EQ(Take(), Queue::Next::kMessage);
  EXPECT_EQ(Take(), Queue::Next::kLast);
  EXPECT_EQ(message_.text, "last");
}

TEST_F(MessageQueueTest, WakesAWaitingReaderOnce) {
  queue_->Push(Text("a"));
  queue_->Push(Text("b"));
  EXPECT_EQ(wakes_, 1);
  Take();
  Take();
  EXPECT_EQ(wakes_, 1);
  EXPECT_EQ(Take(), Queue::Next::kNothing);
  queue_->Close(DataLoss("NaN"));
  EXPECT_EQ(wakes_, 2);
  EXPECT_EQ(Take(), Queue::Next::kEnd);
  EXPECT_EQ(status_.code(), absl::StatusCode::kDataLoss);
}

TEST_F(MessageQueueTest, AnErrorComesAfterWhatWasQueued) {
  queue_->Push(Text("a"));
  queue_->Close(DeadlineExceeded("late"));
  EXPECT_EQ(Take(), Queue::Next::kMessage);
  EXPECT_EQ(Take(), Queue::Next::kEnd);
  EXPECT_EQ(status_.code(), absl::StatusCode::kDeadlineExceeded);
}

TEST_F(MessageQueueTest, OnlyTheFirstEndCounts) {
  Charge(1 << 20);
  queue_->Close(Cancelled("first"));
  queue_->Close(absl::OkStatus(), Text("last"));
  EXPECT_EQ(Take(), Queue::Next::kEnd);
  EXPECT_EQ(status_.code(), absl::StatusCode::kCancelled);
  EXPECT_FALSE(queue_->Push(Text("late")));
  EXPECT_EQ(wakes_, 1);
  EXPECT_EQ(unread_->bytes(), 0u);
}

TEST_F(MessageQueueTest, AReaderThatStallsLosesTheStream) {
  const size_t each = MemoryOf(Text("a"));
  Charge(2 * each);
  EXPECT_TRUE(queue_->Push(Text("a")));
  EXPECT_TRUE(queue_->Push(Text("b")));
  EXPECT_EQ(unread_->bytes(), 2 * each);
  EXPECT_FALSE(queue_->Push(Text("c")));
  EXPECT_EQ(unread_->bytes(), 0u) << "dropped at once";
  EXPECT_FALSE(queue_->Push(Text("d"))) << "what followed would leave a hole";
  queue_->Close(Cancelled("by the scheduler, because of the false"));
  EXPECT_EQ(Take(), Queue::Next::kEnd);
  EXPECT_EQ(status_.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(ReasonOf(status_), "READER_STALLED");
}

TEST_F(MessageQueueTest, OneMessageIsAlwaysTakenAndTakingMakesRoom) {
  Charge(1);
  for (int i = 0; i < 50; ++i) {
    EXPECT_TRUE(queue_->Push(Text(std::string(90, 'x'))));
    EXPECT_EQ(Take(), Queue::Next::kMessage);
    EXPECT_EQ(unread_->bytes(), bytes_) << "the taker's, until it is sent";
    unread_ = nullptr;
    Charge(1);
  }
}

TEST_F(MessageQueueTest, ALastMessageThatIsTooMuchIsAnEndToo) {
  Charge(2 * MemoryOf(Text("a")));
  EXPECT_TRUE(queue_->Push(Text("a")));
  queue_->Close(absl::OkStatus(), Text(std::string(1000, 'x')));
  EXPECT_EQ(Take(), Queue::Next::kEnd);
  EXPECT_EQ(ReasonOf(status_), "READER_STALLED");
  EXPECT_EQ(unread_->bytes(), 0u);
}

TEST_F(MessageQueueTest, AReaderThatHasGoneIsToldOfTheEndAlone) {
  Charge(1 << 20);
  queue_->Push(Text("a"));
  queue_->Abandon();
  EXPECT_EQ(unread_->bytes(), 0u);
  EXPECT_FALSE(queue_->Push(Text("b")));
  EXPECT_EQ(Take(), Queue::Next::kNothing);
  queue_->Close(absl::OkStatus(), Text("last"));
  EXPECT_EQ(Take(), Queue::Next::kEnd);
  EXPECT_EQ(unread_->bytes(), 0u);
}

TEST_F(MessageQueueTest, AReaderMayGoAfterTheEndWasQueued) {
  queue_->Push(Text("a"));
  queue_->Close(absl::OkStatus(), Text("last"));
  queue_->Abandon();
  EXPECT_EQ(Take(), Queue::Next::kEnd);
}

TEST_F(MessageQueueTest, WhoIsGivenUpIsToldWhyWhateverWasQueued) {
  queue_->Push(Text("a"));
  queue_->Close(absl::OkStatus(), Text("last"));
  queue_->GiveUp(ResourceExhausted("took nothing"));
  EXPECT_EQ(Take(), Queue::Next::kEnd);
  EXPECT_EQ(status_.message(), "took nothing");
}

// A writer and a reader that, like a reactor, only takes when it is woken or has taken.
TEST(MessageQueueThreadsTest, NothingIsLostBetweenTwoThreads) {
  constexpr int kMessages = 20'000;
  FakeClock clock;
  const auto unread =
      std::make_shared<UnreadOutput>(UnreadBounds{.stream_bytes = 1 << 30, .tenant_bytes = 1 << 30}, clock);
  const auto account = unread->Open("acme", [](const absl::Status&) {});
  Mutex mu;
  int wakes = 0;
  MessageQueue<Chunk> queue([&] {
    MutexLock lock(&mu);
    ++wakes;
  });
  queue.set_account(account);
  int seen = 0;
  std::thread reader([&] {
    Chunk chunk;
    size_t bytes = 0;
    absl::Status status;
    for (;;) {
      {
        MutexLock lock(&mu);
        mu.Await([&]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return wakes > 0; });
        --wakes;
      }
      Queue::Next next;
      while ((next = queue.Take(&chunk, &bytes, &status)) == Queue::Next::kMessage) {
        ASSERT_EQ(chunk.choice, seen++);
        account->Remove(bytes);
      }
      if (next != Queue::Next::kNothing) return;
    }
  });
  for (int i = 0; i < kMessages; ++i) {
    Chunk chunk;
    chunk.choice = i;
    ASSERT_TRUE(queue.Push(std::move(chunk)));
  }
  queue.Close(absl::OkStatus());
  reader.join();
  EXPECT_EQ(seen, kMessages);
  EXPECT_EQ(unread->bytes(), 0u);
}

}  // namespace
}  // namespace hydrad
