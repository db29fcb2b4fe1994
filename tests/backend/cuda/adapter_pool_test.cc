#include "server/backend/cuda/adapter_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

#include "server/backend/device_errors.h"
#include "tests/ptxsim/ptxsim.h"

namespace hydrad {
namespace {

TEST(FreeList, TakesTheFirstHoleThatFits) {
  FreeList list(100);
  EXPECT_EQ(list.Take(40), 0);
  EXPECT_EQ(list.Take(40), 40);
  EXPECT_EQ(list.Take(40), std::nullopt);
  EXPECT_EQ(list.free(), 20);
  list.GiveBack(0, 40);
  EXPECT_EQ(list.Take(30), 0);
  EXPECT_EQ(list.Take(20), 80);
  EXPECT_EQ(list.Take(10), 30);
  EXPECT_EQ(list.free(), 0);
}

// Every order of giving back ends in one hole.
TEST(FreeList, JoinsNeighbours) {
  std::vector<size_t> order = {0, 1, 2, 3};
  do {
    FreeList list(40);
    for (int i = 0; i < 4; ++i) EXPECT_EQ(list.Take(10), 10 * i);
    for (const size_t i : order) list.GiveBack(10 * i, 10);
    EXPECT_EQ(list.Take(40), 0);
  } while (std::next_permutation(order.begin(), order.end()));
}

TEST(FreeList, OfNothingGivesNothing) {
  FreeList list(0);
  EXPECT_EQ(list.Take(1), std::nullopt);
}

class AdapterPoolTest : public testing::Test {
 protected:
  void Step() {
    clock_.Begin();
    EXPECT_TRUE(clock_.End(stream_.get()).ok());
  }
  CudaStream stream_ = *MakeStream();
  const std::unique_ptr<StepClock> made_ = *StepClock::Make();
  StepClock& clock_ = *made_;
  std::byte* const base_ = reinterpret_cast<std::byte*>(4096);  // only addresses are handed out
  AdapterPool pool_{base_, 1024, clock_};
};

TEST_F(AdapterPoolTest, RoundsAndRefuses) {
  const auto a = pool_.Take(1), b = pool_.Take(513);
  ASSERT_TRUE(a.ok() && b.ok());
  EXPECT_EQ((*a)->data(), base_);
  EXPECT_EQ((*a)->bytes(), 256);
  EXPECT_EQ((*b)->data(), base_ + 256);
  EXPECT_EQ(pool_.Take(1).status().code(), absl::StatusCode::kResourceExhausted);
}

TEST_F(AdapterPoolTest, GivesBackAtOnceWhatNoStepUses) {
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(pool_.Take(1024).ok());
}

// The step that had begun when the piece was let go is waited for.
TEST_F(AdapterPoolTest, WaitsForTheStepThatMayUseThePiece) {
  Step();
  auto piece = pool_.Take(1024);
  ASSERT_TRUE(piece.ok());
  clock_.Begin();
  piece->reset();
  EXPECT_LT(clock_.Finished(), clock_.begun());
  EXPECT_TRUE(clock_.End(stream_.get()).ok());
  EXPECT_TRUE(pool_.Take(1024).ok());
  EXPECT_EQ(clock_.Finished(), clock_.begun());
}

TEST_F(AdapterPoolTest, MemoryOfARunningStepGoesToNobody) {
  auto piece = pool_.Take(512);
  ASSERT_TRUE(piece.ok());
  clock_.Begin();
  piece->reset();
  const auto next = pool_.Take(512);
  ASSERT_TRUE(next.ok());
  EXPECT_EQ((*next)->data(), base_ + 512);
  EXPECT_TRUE(clock_.End(stream_.get()).ok());
}

TEST_F(AdapterPoolTest, AStepThatWasLaunchedIsNotOver) {
  // A device gets no further than the first of these; tests/ptxsim runs one of them at every query.
  std::atomic<bool> go_on{ptxsim_get() != nullptr};
  const auto wait = [](void* flag) {
    while (!static_cast<std::atomic<bool>*>(flag)->load()) std::this_thread::yield();
  };
  for (int i = 0; i < 3; ++i) ASSERT_EQ(cudaLaunchHostFunc(stream_.get(), wait, &go_on), cudaSuccess);
  Step();
  EXPECT_EQ(clock_.Finished(), 0);
  go_on = true;
  EXPECT_TRUE(clock_.Await(1).ok());
  EXPECT_EQ(clock_.Finished(), 1);
}

TEST_F(AdapterPoolTest, ManyStepsLaterTheClockKnowsThemAll) {
  for (int i = 0; i < 20; ++i) Step();
  EXPECT_TRUE(clock_.Await(3).ok());
  ASSERT_EQ(cudaStreamSynchronize(stream_.get()), cudaSuccess);
  EXPECT_EQ(clock_.Finished(), 20);
}

// What the steps may use is free again although the end of one could not be marked: it was waited for.
TEST_F(AdapterPoolTest, AStepWhoseEndCannotBeMarkedIsOver) {
  const ptxsim_api* sim = ptxsim_get();
  if (sim == nullptr) GTEST_SKIP() << "a device does not fail when it is told to";
  auto piece = pool_.Take(1024);
  ASSERT_TRUE(piece.ok());
  clock_.Begin();
  piece->reset();
  bool ran = false;
  const auto run = [](void* flag) { *static_cast<bool*>(flag) = true; };
  ASSERT_EQ(cudaLaunchHostFunc(stream_.get(), run, &ran), cudaSuccess);
  sim->fail_call(1, cudaErrorUnknown, /*lost=*/0);
  EXPECT_EQ(clock_.End(stream_.get()).code(), absl::StatusCode::kInternal);
  EXPECT_TRUE(ran);
  EXPECT_STREQ(sim->failed_call(), "cudaEventRecord");
  sim->clear();
  EXPECT_EQ(clock_.Finished(), 1);
  EXPECT_TRUE(pool_.Take(1024).ok());
}

// Nobody waits for the steps of a device that is lost.
TEST_F(AdapterPoolTest, OfALostDeviceNothingIsAwaited) {
  const ptxsim_api* sim = ptxsim_get();
  if (sim == nullptr) GTEST_SKIP() << "a device does not fail when it is told to";
  auto piece = pool_.Take(1024);
  ASSERT_TRUE(piece.ok());
  clock_.Begin();
  piece->reset();
  sim->fail_call(1, cudaErrorECCUncorrectable, /*lost=*/1);
  EXPECT_TRUE(IsDeviceLost(clock_.End(stream_.get())));
  EXPECT_TRUE(IsDeviceLost(pool_.Take(1024).status()));
  sim->clear();
}

}  // namespace
}  // namespace hydrad
