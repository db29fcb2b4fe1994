#include "server/adapters/store/apply.h"

#include <fmt/core.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>
#include <optional>

#include "server/base/invalid_argument.h"
#include "server/base/status.h"
#include "tests/adapters/store/store_fixture.h"

namespace hydrad {
namespace {

using Action = AppliedChange::Action;
using testing::ElementsAre;
using testing::HasSubstr;

AdapterInfo Present(const std::string& name, const std::string& path, AdapterState state,
                    bool pinned = false) {
  AdapterInfo info;
  info.name = name;
  info.path = path;
  info.digest = "digest of " + path;
  info.state = state;
  info.pinned = pinned;
  return info;
}

std::vector<std::string> Text(const std::vector<AppliedChange>& changes) {
  const char* const names[] = {"unchanged", "create", "replace", "pin", "unload"};
  std::vector<std::string> text;
  for (const AppliedChange& c : changes) {
    text.push_back(fmt::format("{} {}", c.name, names[static_cast<int>(c.action)]));
  }
  return text;
}

TEST(PlanApply, OneOfEachKind) {
  using State = AdapterState;
  const auto plan =
      PlanApply({{.name = "same", .path = "p"},
                 {.name = "same-digest", .path = "moved", .digest = "digest of p"},
                 {.name = "other-path", .path = "q"},
                 {.name = "other-digest", .path = "p", .digest = "digest of q"},
                 {.name = "failed", .path = "p"},
                 {.name = "pin", .path = "p", .pinned = true},
                 {.name = "unpin", .path = "p"},
                 {.name = "fresh", .path = "p"}},
                {Present("same", "p", State::kAvailable), Present("same-digest", "p", State::kAvailable),
                 Present("other-path", "p", State::kAvailable),
                 Present("other-digest", "p", State::kAvailable), Present("failed", "p", State::kFailed),
                 Present("pin", "p", State::kAvailable), Present("unpin", "p", State::kAvailable, true),
                 Present("unwanted", "p", State::kAvailable), Present("going", "p", State::kUnloading)});
  EXPECT_THAT(Text(plan),
              ElementsAre("failed replace", "fresh create", "going unload", "other-digest replace",
                          "other-path replace", "pin pin", "same unchanged", "same-digest unchanged",
                          "unpin pin", "unwanted unload"));
}

class ApplyTest : public StoreFixture {
 protected:
  absl::StatusOr<std::vector<AppliedChange>> Apply(std::vector<WantedAdapter> wanted,
                                                   AdapterApplier::Options options = {}) {
    std::promise<absl::StatusOr<std::vector<AppliedChange>>> answer;
    applier_.Apply(std::move(wanted), std::move(options),
                   [&](const auto& changes) { answer.set_value(changes); });
    return answer.get_future().get();
  }
  std::vector<std::string> Names() const {
    std::vector<std::string> names;
    for (const AdapterInfo& info : store_->List()) {
      names.push_back(
          fmt::format("{} {} {}{}", info.name, info.path, Name(info.state), info.pinned ? " pinned" : ""));
    }
    return names;
  }

  const std::unique_ptr<AdapterStore> store_ = MakeStore();
  AdapterApplier applier_{*store_};
};

TEST_F(ApplyTest, MakesTheSetWhatIsWanted) {
  ASSERT_TRUE(Load(*store_, "old", "one").ok());
  ASSERT_TRUE(Load(*store_, "same", "one").ok());
  ASSERT_TRUE(Load(*store_, "new-path", "one").ok());
  std::vector<std::string> told;
  const auto changes =
      Apply({{.name = "same", .path = "one"},
             {.name = "new-path", .path = "two"},
             {.name = "pinned", .path = "hydra", .pinned = true}},
            {.on_change = [&](const char* action, const WantedAdapter& w, const absl::Status& status) {
              told.push_back(fmt::format("{} {} {}", action, w.name, status.ok()));
            }});
  ASSERT_TRUE(changes.ok()) << changes.status();
  EXPECT_THAT(Text(*changes),
              ElementsAre("new-path replace", "old unload", "pinned create", "same unchanged"));
  EXPECT_THAT(Names(),
              ElementsAre("new-path two available", "pinned hydra available pinned", "same one available"));
  EXPECT_EQ(store_->Get("same")->generation, 2u) << "left alone";
  EXPECT_THAT(told,
              testing::UnorderedElementsAre("load new-path true", "load pinned true", "unpin new-path true",
                                            "pin pinned true", "unload old true"));
  EXPECT_THAT(Text(*Apply({})), ElementsAre("new-path unload", "pinned unload", "same unload"));
  EXPECT_TRUE(store_->List().empty());
}

TEST_F(ApplyTest, OneBadAdapterAndNothingChanges) {
  ASSERT_TRUE(Load(*store_, "old", "one").ok());
  const auto changes = Apply({{.name = "good", .path = "two"},
                              {.name = "worse", .path = "bad"},
                              {.name = "none", .path = "nowhere"}});
  EXPECT_EQ(changes.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(changes.status().message()),
              HasSubstr("2 adapters cannot be loaded, and nothing was"));
  EXPECT_THAT(std::string(changes.status().message()), HasSubstr("lora_B.weight': is missing"));
  EXPECT_THAT(Names(), ElementsAre("old one available"));
  EXPECT_EQ(Apply({{.name = "a", .path = "one"}, {.name = "a", .path = "two"}}).status(),
            InvalidArgument("adapter 'a' is named twice"));
}

TEST_F(ApplyTest, ValidateOnlyOnlySays) {
  ASSERT_TRUE(Load(*store_, "old", "one").ok());
  const auto changes = Apply({{.name = "a", .path = "one"}}, {.validate_only = true});
  EXPECT_THAT(Text(*changes), ElementsAre("a create", "old unload"));
  EXPECT_THAT(Names(), ElementsAre("old one available"));
  EXPECT_FALSE(Apply({{.name = "a", .path = "bad"}}, {.validate_only = true}).ok());
}

TEST_F(ApplyTest, OneAtATimeAndRepeatedUnderItsId) {
  backend_.CloseGate();
  std::promise<absl::Status> first;
  applier_.Apply({{.name = "a", .path = "one"}}, {.request_id = "r1"},
                 [&](const auto& changes) { first.set_value(changes.status()); });
  backend_.AwaitAtGate(1);
  EXPECT_EQ(Apply({}).status(), Aborted("another set is being applied"));
  backend_.OpenGate();
  EXPECT_TRUE(first.get_future().get().ok());
  ASSERT_TRUE(Load(*store_, "b", "two").ok());
  EXPECT_TRUE(Apply({{.name = "a", .path = "one"}}, {.request_id = "r1"}).ok());
  EXPECT_EQ(store_->List().size(), 2u) << "it was not made again";
  EXPECT_EQ(Apply({}, {.request_id = "r1"}).status().code(), absl::StatusCode::kInvalidArgument);
}

// An unload that an operator has begun counts as the set's own.
TEST_F(ApplyTest, UnloadsThatAreUnderWayAreJoinedAndForced) {
  ASSERT_TRUE(Load(*store_, "a", "one").ok());
  std::optional<AdapterHandle> running = Bound(*store_, "a");
  Pending unload;
  store_->Unload("a", unload.done());
  std::promise<absl::StatusOr<std::vector<AppliedChange>>> answer;
  applier_.Apply({}, {.force = true}, [&](const auto& changes) { answer.set_value(changes); });
  EXPECT_EQ(running->status().code(), absl::StatusCode::kAborted) << "it is told to end";
  EXPECT_FALSE(unload.ready());
  running.reset();
  EXPECT_THAT(Text(*answer.get_future().get()), ElementsAre("a unload"));
  EXPECT_TRUE(unload.Wait().ok());
}

TEST_F(ApplyTest, PathsAreComparedAsTheyAreKept) {
  ASSERT_TRUE(Apply({{.name = "a", .path = "one/"}}, {.request_id = "r"}).ok());
  EXPECT_THAT(Text(*Apply({{.name = "a", .path = "./one"}})), ElementsAre("a unchanged"));
  EXPECT_TRUE(Apply({{.name = "a", .path = "one"}}, {.request_id = "r"}).ok()) << "the same request";
  EXPECT_EQ(Apply({{.name = "a", .path = "../one"}}).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(ApplyTest, ManyAtOnce) {
  std::vector<WantedAdapter> wanted;
  for (int i = 0; i < 300; ++i)
    wanted.push_back({.name = "a" + std::to_string(i), .path = i % 2 ? "one" : "two"});
  ASSERT_TRUE(Apply(wanted).ok());
  EXPECT_EQ(store_->List().size(), 300u);
  EXPECT_TRUE(Apply({}, {.force = true}).ok());
  EXPECT_TRUE(store_->List().empty());
}

}  // namespace
}  // namespace hydrad
