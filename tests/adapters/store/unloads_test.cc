#include "server/adapters/store/unloads.h"

#include <string>
#include <vector>

#include "server/base/status.h"
#include "tests/adapters/store/state_fixture.h"

namespace hydrad {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

class UnloadsTest : public StateFixture {
 protected:
  Unloads::Done Told(const std::string& who) {
    return [this, who](const absl::StatusOr<AdapterInfo>& info) {
      told_.push_back(who + " " + Name(info->state));
    };
  }
  void TellOver() {
    for (const auto& [done, info] : unloads_.TakeOver()) done(info);
  }

  Unloads unloads_{catalogue_, generations_, room_};
  std::vector<std::string> told_;
};

TEST_F(UnloadsTest, EndsWhenTheLastClaimAndTheMemoryAreGone) {
  const EntryPtr a = Serve("a", Tier::kDevice);
  ClaimState& claim = Claim(a);
  unloads_.Ask(a);
  EXPECT_EQ(catalogue_.MayChange("a").code(), absl::StatusCode::kAborted) << "while it is recorded";
  unloads_.Begin(a, Told("first"), /*force=*/false);
  EXPECT_EQ(catalogue_.Get("a")->state, AdapterState::kUnloading);
  EXPECT_FALSE(claim.ended);
  Drop(claim);
  unloads_.FinishIfUnused(a);
  TellOver();
  EXPECT_THAT(told_, IsEmpty()) << "its memory is not back";
  EXPECT_EQ(GiveMemoryBack(), 1u);
  unloads_.FinishIfUnused(a);
  TellOver();
  EXPECT_THAT(told_, ElementsAre("first unloaded"));
  EXPECT_EQ(catalogue_.Find("a"), nullptr);
  EXPECT_FALSE(unloads_.UnderWay(a));
}

TEST_F(UnloadsTest, ThoseThatJoinEndWithIt) {
  const EntryPtr a = Serve("a", Tier::kHost);
  ClaimState& claim = Claim(a);
  EXPECT_FALSE(unloads_.Join(a, Told("nobody"), false)) << "none is under way";
  unloads_.Ask(a);
  EXPECT_TRUE(unloads_.Join(a, Told("second"), /*force=*/true));
  EXPECT_FALSE(claim.ended) << "it may not be recorded";
  unloads_.Begin(a, Told("first"), /*force=*/false);
  EXPECT_TRUE(claim.ended) << "one force counts for all";
  EXPECT_EQ(claim.why.code(), absl::StatusCode::kAborted);
  Drop(claim);
  unloads_.FinishIfUnused(a);
  GiveMemoryBack();
  unloads_.FinishIfUnused(a);
  TellOver();
  EXPECT_THAT(told_, ElementsAre("second unloaded", "first unloaded"));
}

TEST_F(UnloadsTest, AForceThatJoinsLaterEndsTheClaims) {
  const EntryPtr a = Serve("a", Tier::kHost);
  ClaimState& claim = Claim(a);
  unloads_.Ask(a);
  unloads_.Begin(a, Told("first"), /*force=*/false);
  EXPECT_TRUE(unloads_.Join(a, Told("second"), /*force=*/true));
  EXPECT_TRUE(claim.ended);
}

TEST_F(UnloadsTest, WhatCouldNotBeRecordedChangesNothing) {
  const EntryPtr a = Serve("a", Tier::kHost);
  unloads_.Ask(a);
  unloads_.Join(a, Told("second"), false);
  EXPECT_EQ(unloads_.Abandon(a).size(), 1u);
  EXPECT_TRUE(catalogue_.MayChange("a").ok());
  EXPECT_EQ(catalogue_.Get("a")->state, AdapterState::kAvailable);
}

TEST_F(UnloadsTest, ANameWhoseLoadFailedIsGoneAtOnce) {
  const EntryPtr a = catalogue_.BeginLoad("a", "a");
  catalogue_.FailLoad(*a, Internal("x"), 0);
  unloads_.Ask(a);
  unloads_.Begin(a, Told("first"), false);
  TellOver();
  EXPECT_THAT(told_, ElementsAre("first unloaded"));
}

TEST_F(UnloadsTest, AnUnloadedAdapterIsNotKept) {
  const EntryPtr a = Serve("a", Tier::kDevice);
  room_.Keep(a, true);
  unloads_.Ask(a);
  unloads_.Begin(a, Told("first"), false);
  EXPECT_THAT(room_.kept(), IsEmpty());
}

}  // namespace
}  // namespace hydrad
