#include "server/adapters/store/fetch_queue.h"

#include <string>
#include <vector>

#include "tests/adapters/store/state_fixture.h"

namespace hydrad {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

class FetchQueueTest : public StateFixture {
 protected:
  explicit FetchQueueTest(bool must_be_tried = false) : StateFixture(must_be_tried) {}

  // Does all that can be done now.
  std::vector<std::string> Fetch() {
    std::vector<std::string> done;
    while (true) {
      FetchQueue::Step step = queue_.Next();
      for (const FetchQueue::Trial& trial : step.trials) done.push_back("try " + trial.entry->name);
      if (!step.fetch) return done;
      done.push_back(Do(*step.fetch));
    }
  }

  FetchQueue queue_{catalogue_, residency_, generations_, room_, clock_};
};
class TryingFetchQueueTest : public FetchQueueTest {
 protected:
  TryingFetchQueueTest() : FetchQueueTest(/*must_be_tried=*/true) {}
};

TEST_F(FetchQueueTest, KeptThenWantedThenAcquired) {
  const EntryPtr a = Serve("a", Tier::kHost), b = Serve("b", Tier::kHost), kept = Serve("kept", Tier::kHost);
  Claim(a);
  Claim(b);
  queue_.Want({"b"});
  queue_.Acquired("a");
  room_.Keep(kept, true);
  EXPECT_THAT(Fetch(), ElementsAre("upload kept", "upload b", "upload a"));
  EXPECT_THAT(Fetch(), IsEmpty());
}

TEST_F(FetchQueueTest, ComponentsAreReadAndThenUploaded) {
  Claim(Serve("a", Tier::kDisk));
  queue_.Want({"a"});
  EXPECT_THAT(Fetch(), ElementsAre("read a", "upload a"));
}

TEST_F(FetchQueueTest, NamesThatNobodyWaitsForArePassedOver) {
  const EntryPtr a = Serve("a", Tier::kHost);
  ClaimState& claim = Claim(a);
  queue_.Want({"a", "none"});
  Drop(claim);
  EXPECT_THAT(Fetch(), IsEmpty());
}

TEST_F(FetchQueueTest, WantReplacesWhatWasAcquired) {
  Claim(Serve("a", Tier::kHost));
  queue_.Acquired("a");
  queue_.Want({});
  EXPECT_THAT(Fetch(), IsEmpty()) << "its request is not one of those that wait";
}

TEST_F(FetchQueueTest, WhatOnlyHeldOnesKeepOutIsBlocked) {
  const EntryPtr large = Serve("large", Tier::kDevice, 3 * kBytes), a = Serve("a", Tier::kHost);
  generations_.Hold("large", *large->serving);
  Claim(a);
  queue_.Want({"a"});
  EXPECT_THAT(Fetch(), IsEmpty());
  EXPECT_TRUE(a->blocked);
  EXPECT_TRUE(catalogue_.TakeWake());
  generations_.Release(*large->serving);
  EXPECT_THAT(Fetch(), ElementsAre("upload a"));
  EXPECT_FALSE(a->blocked);
}

TEST_F(FetchQueueTest, KeptOnesThatFailedAreTriedWhenTheirTimeHasCome) {
  const EntryPtr kept = Serve("kept", Tier::kHost);
  room_.Keep(kept, true);
  EXPECT_FALSE(queue_.HasKeptToRetry()) << "it has not failed";
  kept->backoff.Failed(clock_.Now());
  EXPECT_FALSE(queue_.HasKeptToRetry());
  EXPECT_THAT(Fetch(), IsEmpty());
  clock_.Advance(Backoff::kFirst);
  EXPECT_TRUE(queue_.HasKeptToRetry());
  EXPECT_THAT(Fetch(), ElementsAre("upload kept"));
  EXPECT_FALSE(queue_.HasKeptToRetry());
}

TEST_F(TryingFetchQueueTest, WhatHasComeIsTriedOnce) {
  const EntryPtr a = Serve("a", Tier::kHost);
  Claim(a);
  queue_.Want({"a"});
  EXPECT_THAT(Fetch(), ElementsAre("upload a", "try a"));
  EXPECT_FALSE(a->ready);
  EXPECT_THAT(Fetch(), IsEmpty());
}

}  // namespace
}  // namespace hydrad
