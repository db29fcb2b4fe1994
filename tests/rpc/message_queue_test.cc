#include "server/rpc/message_queue.h"

#include <gtest/gtest.h>

#include <memory>
#include <thread>

#include "proto/inference.pb.h"

namespace hydrad {
namespace {

using Queue = MessageQueue<v1::Chunk>;

v1::Chunk Text(const std::string& text) {
  v1::Chunk chunk;
  chunk.set_text(text);
  return chunk;
}

class MessageQueueTest : public testing::Test {
 protected:
  void Make(QueueBounds bounds = {}) {
    queue_ = std::make_unique<Queue>(bounds, [this] { ++wakes_; });
  }
  Queue::Next Take() { return queue_->Take(&message_, &status_); }

  int wakes_ = 0;
  std::unique_ptr<Queue> queue_;
  v1::Chunk message_;
  absl::Status status_;
};

TEST_F(MessageQueueTest, HandsOutInOrderAndEndsWell) {
  Make();
  EXPECT_TRUE(queue_->Push(Text("a")));
  EXPECT_TRUE(queue_->Push(Text("b")));
  queue_->Close(absl::OkStatus(), Text("last"));
  EXPECT_EQ(Take(), Queue::Next::kMessage);
  EXPECT_EQ(message_.text(), "a");
  EXPECT_EQ(Take(), Queue::Next::kMessage);
  EXPECT_EQ(Take(), Queue::Next::kLast);
  EXPECT_EQ(message_.text(), "last");
}

TEST_F(MessageQueueTest, WakesAWaitingReaderOnce) {
  Make();
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
  Make();
  queue_->Push(Text("a"));
  queue_->Close(DeadlineExceeded("late"));
  EXPECT_EQ(Take(), Queue::Next::kMessage);
  EXPECT_EQ(Take(), Queue::Next::kEnd);
  EXPECT_EQ(status_.code(), absl::StatusCode::kDeadlineExceeded);
}

TEST_F(MessageQueueTest, OnlyTheFirstEndCounts) {
  Make();
  queue_->Close(Cancelled("first"));
  queue_->Close(absl::OkStatus(), Text("last"));
  EXPECT_EQ(Take(), Queue::Next::kEnd);
  EXPECT_EQ(status_.code(), absl::StatusCode::kCancelled);
  EXPECT_FALSE(queue_->Push(Text("late")));
  EXPECT_EQ(wakes_, 1);
}

TEST_F(MessageQueueTest, AReaderThatStallsLosesTheStream) {
  Make({.max_messages = 2, .max_bytes = 1000});
  EXPECT_TRUE(queue_->Push(Text("a")));
  EXPECT_TRUE(queue_->Push(Text("b")));
  EXPECT_FALSE(queue_->Push(Text("c")));
  EXPECT_FALSE(queue_->Push(Text("d"))) << "what followed would leave a hole";
  queue_->Close(Cancelled("by the scheduler, because of the false"));
  EXPECT_EQ(Take(), Queue::Next::kEnd);
  EXPECT_EQ(status_.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(ReasonOf(status_), "READER_STALLED");
}

TEST_F(MessageQueueTest, BytesAreBoundedToo) {
  Make({.max_messages = 1000, .max_bytes = 100});
  EXPECT_TRUE(queue_->Push(Text(std::string(200, 'x')))) << "one message is always taken";
  EXPECT_FALSE(queue_->Push(Text("y")));
}

TEST_F(MessageQueueTest, TakingMakesRoom) {
  Make({.max_messages = 1, .max_bytes = 100});
  for (int i = 0; i < 50; ++i) {
    EXPECT_TRUE(queue_->Push(Text(std::string(90, 'x'))));
    EXPECT_EQ(Take(), Queue::Next::kMessage);
  }
}

TEST_F(MessageQueueTest, AReaderThatHasGoneIsToldOfTheEndAlone) {
  Make();
  queue_->Push(Text("a"));
  queue_->Abandon();
  EXPECT_FALSE(queue_->Push(Text("b")));
  EXPECT_EQ(Take(), Queue::Next::kNothing);
  queue_->Close(absl::OkStatus(), Text("last"));
  EXPECT_EQ(Take(), Queue::Next::kEnd);
}

TEST_F(MessageQueueTest, AReaderMayGoAfterTheEndWasQueued) {
  Make();
  queue_->Push(Text("a"));
  queue_->Close(absl::OkStatus(), Text("last"));
  queue_->Abandon();
  EXPECT_EQ(Take(), Queue::Next::kEnd);
}

// A writer and a reader that, like a reactor, only takes when it is woken or has taken.
TEST(MessageQueueThreadsTest, NothingIsLostBetweenTwoThreads) {
  constexpr int kMessages = 20'000;
  Mutex mu;
  int wakes = 0;
  MessageQueue<v1::Chunk> queue({.max_messages = kMessages, .max_bytes = 1 << 30}, [&] {
    MutexLock lock(&mu);
    ++wakes;
  });
  int seen = 0;
  std::thread reader([&] {
    v1::Chunk chunk;
    absl::Status status;
    for (;;) {
      {
        MutexLock lock(&mu);
        mu.Await([&]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return wakes > 0; });
        --wakes;
      }
      Queue::Next next;
      while ((next = queue.Take(&chunk, &status)) == Queue::Next::kMessage) {
        ASSERT_EQ(chunk.choice(), seen++);
      }
      if (next != Queue::Next::kNothing) return;
    }
  });
  for (int i = 0; i < kMessages; ++i) {
    v1::Chunk chunk;
    chunk.set_choice(i);
    ASSERT_TRUE(queue.Push(std::move(chunk)));
  }
  queue.Close(absl::OkStatus());
  reader.join();
  EXPECT_EQ(seen, kMessages);
}

}  // namespace
}  // namespace hydrad
