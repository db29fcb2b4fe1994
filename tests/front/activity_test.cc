#include "server/front/activity.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "server/base/status.h"

namespace hydrad {
namespace {

using testing::IsEmpty;
using testing::Pair;
using testing::UnorderedElementsAre;

class RecordingSink final : public TokenSink {
 public:
  explicit RecordingSink(const Activity& activity) : activity_(activity) {}
  void OnStart(OutputStart) override { started = true; }
  bool OnPiece(OutputPiece piece) override {
    text += piece.text;
    return takes;
  }
  void OnDone(absl::Status status, const Usage& usage) override {
    ended_with = std::move(status);
    generated = usage.generated_tokens;
    running_at_end = activity_.Of("acme").running;
  }

  bool started = false, takes = true;
  std::string text;
  absl::Status ended_with;
  int generated = 0, running_at_end = -1;

 private:
  const Activity& activity_;
};

class ActivityTest : public testing::Test {
 protected:
  static OutputPiece Piece(const std::string& text, std::vector<int32_t> tokens) {
    OutputPiece piece;
    piece.text = text;
    piece.tokens = std::move(tokens);
    return piece;
  }

  Activity activity_;
  const std::shared_ptr<RecordingSink> sink_ = std::make_shared<RecordingSink>(activity_);
};

TEST_F(ActivityTest, ARequestWaitsRunsAndEnds) {
  const auto watched = activity_.Watch(sink_, "acme", {"sql"});
  EXPECT_EQ(activity_.Of("acme").waiting, 1);
  EXPECT_THAT(activity_.Of("acme").adapters, UnorderedElementsAre(Pair("sql", 1)));
  watched->OnStart({});
  EXPECT_EQ(activity_.Of("acme").waiting, 0);
  EXPECT_EQ(activity_.Of("acme").running, 1);
  watched->OnPiece(Piece("ab", {1, 2}));
  watched->OnPiece(Piece("c", {3}));
  EXPECT_EQ(activity_.Of("acme").generated_tokens, 3);
  watched->OnDone(absl::OkStatus(), {.generated_tokens = 3, .routing = {}});
  const TenantActivity after = activity_.Of("acme");
  EXPECT_EQ(after.running, 0);
  EXPECT_EQ(after.ended, 1);
  EXPECT_THAT(after.adapters, IsEmpty());
}

TEST_F(ActivityTest, TheSinkHearsEverything) {
  const auto watched = activity_.Watch(sink_, "acme", {""});
  watched->OnStart({});
  EXPECT_TRUE(watched->OnPiece(Piece("a", {1})));
  sink_->takes = false;
  EXPECT_FALSE(watched->OnPiece(Piece("b", {2})));
  watched->OnDone(Cancelled("gone"), {.generated_tokens = 2, .routing = {}});
  EXPECT_TRUE(sink_->started);
  EXPECT_EQ(sink_->text, "ab");
  EXPECT_EQ(sink_->ended_with.message(), "gone");
  EXPECT_EQ(sink_->generated, 2);
  EXPECT_EQ(sink_->running_at_end, 0) << "a client that hears of the end and looks finds it";
}

TEST_F(ActivityTest, ARequestThatIsDroppedHasEnded) {
  activity_.Watch(sink_, "acme", {"sql", "shakespeare"}).reset();
  EXPECT_EQ(activity_.Of("acme").waiting, 0);
  EXPECT_EQ(activity_.Of("acme").ended, 1);
  EXPECT_THAT(activity_.Of("acme").adapters, IsEmpty());
}

TEST_F(ActivityTest, TenantsAndAdaptersAreCountedApart) {
  const auto one = activity_.Watch(sink_, "acme", {"sql"});
  const auto two = activity_.Watch(sink_, "acme", {"sql", "shakespeare"});
  const auto base = activity_.Watch(sink_, "globex", {""});
  EXPECT_THAT(activity_.Of("acme").adapters, UnorderedElementsAre(Pair("sql", 2), Pair("shakespeare", 1)));
  EXPECT_THAT(activity_.Of("globex").adapters, UnorderedElementsAre(Pair("", 1)));
  EXPECT_EQ(activity_.Of("globex").waiting, 1);
  EXPECT_EQ(activity_.Of("nobody").waiting, 0);
}

TEST(ActivityLifetimeTest, ASinkMayOutliveIt) {
  auto activity = std::make_unique<Activity>();
  const auto watched = activity->Watch(std::make_shared<RecordingSink>(*activity), "acme", {""});
  activity.reset();
  EXPECT_TRUE(watched->OnPiece({}));
}

}  // namespace
}  // namespace hydrad
