#include "server/front/delivery.h"

#include <fmt/core.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <thread>
#include <vector>

#include "server/base/status.h"
#include "server/front/error_details.h"

namespace hydrad {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

// Writes down what it hears, and on which thread.
class NotingSink final : public TokenSink {
 public:
  explicit NotingSink(std::vector<std::string>* heard) : heard_(heard) {}
  ~NotingSink() override { Note("gone"); }
  void OnStart(OutputStart start) override { Note(fmt::format("start {}", start.generations.size())); }
  bool OnPiece(OutputPiece piece) override {
    Note(piece.text);
    return piece.text != "refused";
  }
  void OnDone(absl::Status status, const Usage& usage) override {
    Note(fmt::format("{} {} {}", status.ok() ? "OK" : ReasonOf(status), std::string(status.message()),
                     usage.generated_tokens));
  }
  bool others_thread() const { return others_thread_; }

 private:
  void Note(std::string what) {
    heard_->push_back(std::move(what));
    others_thread_ = others_thread_ || std::this_thread::get_id() != made_on_;
  }

  const std::thread::id made_on_ = std::this_thread::get_id();
  std::vector<std::string>* const heard_;
  bool others_thread_ = false;
};

OutputPiece Piece(const std::string& text) {
  OutputPiece piece;
  piece.text = text;
  return piece;
}
Usage Used(int tokens) {
  Usage usage;
  usage.generated_tokens = tokens;
  return usage;
}

class DeliveryTest : public testing::Test {
 protected:
  std::vector<std::string> heard_;  // of the delivery's thread, and the test's after a Flush
  Delivery delivery_{{.stream_bytes = 1000, .tenant_bytes = 10'000}};
};

TEST_F(DeliveryTest, HandsOverInOrderOnItsOwnThread) {
  auto inner = std::make_shared<NotingSink>(&heard_);
  const auto sink = delivery_.To(inner, "acme");
  sink->OnStart({.prompt_logprobs = {}, .generations = {1, 2}});
  EXPECT_TRUE(sink->OnPiece(Piece("a")));
  EXPECT_TRUE(sink->OnPiece(Piece("b")));
  sink->OnDone(absl::OkStatus(), Used(2));
  delivery_.Flush();
  EXPECT_THAT(heard_, ElementsAre("start 2", "a", "b", "OK  2"));
  EXPECT_TRUE(inner->others_thread());
}

TEST_F(DeliveryTest, NothingComesBeforeTheStepIsDone) {
  const auto sink = delivery_.To(std::make_shared<NotingSink>(&heard_), "acme");
  const auto other = delivery_.To(std::make_shared<NotingSink>(&heard_), "acme");
  other->OnPiece(Piece("first"));
  delivery_.Flush();
  sink->OnPiece(Piece("a"));
  other->OnPiece(Piece("b"));
  EXPECT_THAT(heard_, ElementsAre("first"));
  delivery_.StepDone();
  delivery_.StepDone();  // nothing new
  delivery_.Flush();
  EXPECT_THAT(heard_, ElementsAre("first", "a", "b"));
}

TEST_F(DeliveryTest, ARefusalIsToldAtTheNextPiece) {
  const auto sink = delivery_.To(std::make_shared<NotingSink>(&heard_), "acme");
  EXPECT_TRUE(sink->OnPiece(Piece("refused")));
  EXPECT_TRUE(sink->OnPiece(Piece("in the same step")));
  delivery_.Flush();
  EXPECT_FALSE(sink->OnPiece(Piece("after it")));
  sink->OnDone(Cancelled("stalled"), Used(3));
  delivery_.Flush();
  EXPECT_THAT(heard_, ElementsAre("refused", "CANCELLED stalled 3", "gone"));
}

TEST_F(DeliveryTest, WhatWaitsForOneStreamIsBounded) {
  const auto sink = delivery_.To(std::make_shared<NotingSink>(&heard_), "acme");
  const auto other = delivery_.To(std::make_shared<NotingSink>(&heard_), "acme");
  EXPECT_TRUE(sink->OnPiece(Piece(std::string(5000, 'x')))) << "one piece may always wait";
  EXPECT_TRUE(other->OnPiece(Piece("a"))) << "each stream has its own bound";
  EXPECT_FALSE(sink->OnPiece(Piece("b")));
  sink->OnDone(Cancelled("by the scheduler, because of the false"), {});
  delivery_.Flush();
  ASSERT_EQ(heard_.size(), 4u);
  EXPECT_EQ(heard_[1], "a");
  EXPECT_THAT(heard_[2], testing::StartsWith("READER_STALLED the reader did not keep up"));
  EXPECT_TRUE(other->OnPiece(Piece(std::string(500, 'y'))));
  delivery_.Flush();
  EXPECT_TRUE(other->OnPiece(Piece(std::string(500, 'y')))) << "what was handed over waits no more";
}

TEST_F(DeliveryTest, WhatWaitsForOneTenantIsBounded) {
  const auto large = delivery_.To(std::make_shared<NotingSink>(&heard_), "acme");
  const auto small = delivery_.To(std::make_shared<NotingSink>(&heard_), "acme");
  const auto others = delivery_.To(std::make_shared<NotingSink>(&heard_), "globex");
  EXPECT_TRUE(large->OnPiece(Piece(std::string(20'000, 'x'))));
  EXPECT_TRUE(small->OnPiece(Piece("a"))) << "one piece may always wait";
  EXPECT_FALSE(small->OnPiece(Piece("b")));
  EXPECT_TRUE(others->OnPiece(Piece("c")));
  EXPECT_TRUE(others->OnPiece(Piece("d"))) << "each tenant has its own bound";
  delivery_.Flush();
  EXPECT_TRUE(large->OnPiece(Piece("e"))) << "what was handed over waits no more";
}

TEST_F(DeliveryTest, ASinkIsLetGoAfterItsEnd) {
  const auto sink = delivery_.To(std::make_shared<NotingSink>(&heard_), "acme");
  sink->OnDone(Unavailable("shutting down"), {});
  delivery_.Flush();
  EXPECT_THAT(heard_, ElementsAre("UNAVAILABLE shutting down 0", "gone"));
}

TEST_F(DeliveryTest, ASinkThatIsDroppedDropsItsOwn) {
  delivery_.To(std::make_shared<NotingSink>(&heard_), "acme").reset();
  EXPECT_THAT(heard_, ElementsAre("gone"));
}

TEST(DeliveryEndTest, WhatIsQueuedIsHandedOverAtTheEnd) {
  std::vector<std::string> heard;
  {
    Delivery delivery{UnreadBounds()};
    const auto sink = delivery.To(std::make_shared<NotingSink>(&heard), "acme");
    sink->OnPiece(Piece("a"));
    EXPECT_THAT(heard, IsEmpty());
    sink->OnDone(absl::OkStatus(), Used(1));
  }
  EXPECT_THAT(heard, ElementsAre("a", "OK  1", "gone"));
}

}  // namespace
}  // namespace hydrad
