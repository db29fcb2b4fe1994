#include "server/backend/cuda/graphs.h"

#include <gtest/gtest.h>

#include <string>
#include <thread>

#include "server/backend/device_errors.h"
#include "tests/ptxsim/ptxsim.h"

namespace hydrad {
namespace {

constexpr StepForm kForm{.rows = 1, .adapters = false, .ends = {}};

// A loader takes memory for its adapter, and gives some back, while the step of another thread is recorded.
TEST(StepGraphs, RecordingDoesNotForbidOtherThreadsToAllocate) {
  cudaStream_t stream;
  ASSERT_EQ(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), cudaSuccess);
  void* sum;
  ASSERT_EQ(cudaMalloc(&sum, sizeof(int32_t)), cudaSuccess);
  cudaError_t allocated = cudaErrorUnknown, freed = cudaErrorUnknown;
  int calls = 0;
  const auto step = [&] {
    ++calls;
    EXPECT_EQ(cudaMemsetAsync(sum, calls, sizeof(int32_t), stream), cudaSuccess);
    std::thread([&] {
      void* taken;
      allocated = cudaMalloc(&taken, 1024);
      freed = allocated == cudaSuccess ? cudaFree(taken) : allocated;
    }).join();
    return absl::OkStatus();
  };
  {
    StepGraphs graphs;
    for (int i = 0; i < 3; ++i) {
      EXPECT_TRUE(graphs.Run(kForm, stream, step).ok());
      EXPECT_EQ(allocated, cudaSuccess) << cudaGetErrorString(allocated);
      EXPECT_EQ(freed, cudaSuccess) << cudaGetErrorString(freed);
    }
    ASSERT_EQ(cudaStreamSynchronize(stream), cudaSuccess);
  }
  EXPECT_EQ(calls, 2) << "once as it is, once to record it";
  int32_t seen = 0;
  ASSERT_EQ(cudaMemcpy(&seen, sum, sizeof(seen), cudaMemcpyDeviceToHost), cudaSuccess);
  EXPECT_EQ(seen, 0x02020202);
  EXPECT_EQ(cudaFree(sum), cudaSuccess);
  EXPECT_EQ(cudaStreamDestroy(stream), cudaSuccess);
}

// A step that sets a number in device memory.
class FailingGraphs : public testing::Test {
 protected:
  void SetUp() override {
    if (sim_ == nullptr) GTEST_SKIP() << "a device does not fail when it is told to";
    ASSERT_EQ(cudaMalloc(&number_, sizeof(int32_t)), cudaSuccess);
  }
  void TearDown() override {
    if (sim_ == nullptr) return;
    EXPECT_EQ(sim_->check(), 0u);
    sim_->clear();
    EXPECT_EQ(cudaFree(number_), cudaSuccess);
  }
  // The step sets every byte of the number to `value`.
  absl::Status Run(int value) {
    return graphs_.Run(kForm, stream_.get(), [&] {
      ++calls_;
      return CudaStatus(cudaMemsetAsync(number_, value, sizeof(int32_t), stream_.get()), "setting a number");
    });
  }
  int Number() {
    int32_t number = 0;
    EXPECT_EQ(cudaStreamSynchronize(stream_.get()), cudaSuccess);
    EXPECT_EQ(cudaMemcpy(&number, number_, sizeof number, cudaMemcpyDeviceToHost), cudaSuccess);
    return number & 0xff;
  }
  bool Capturing() {
    cudaStreamCaptureStatus status = cudaStreamCaptureStatusActive;
    EXPECT_EQ(cudaStreamIsCapturing(stream_.get(), &status), cudaSuccess);
    return status != cudaStreamCaptureStatusNone;
  }

  const ptxsim_api* const sim_ = ptxsim_get();
  CudaStream stream_ = *MakeStream();
  void* number_ = nullptr;
  int calls_ = 0;
  StepGraphs graphs_;
};

// Whichever of the calls that record a step fails, the step runs, and those after it, too.
TEST_F(FailingGraphs, AStepThatCannotBeRecordedRunsAsItIs) {
  for (uint64_t call = 1;; ++call) {
    graphs_.Forget();
    ASSERT_TRUE(Run(1).ok());
    ASSERT_EQ(Number(), 1);
    sim_->fail_call(call, cudaErrorMemoryAllocation, /*lost=*/0);
    const absl::Status ran = Run(2);
    const std::string failed = sim_->failed_call() == nullptr ? "" : sim_->failed_call();
    sim_->clear();
    if (failed.empty()) break;
    EXPECT_FALSE(Capturing()) << failed;
    // Recorded, it is launched by one call; if that fails, so does the step, and the next brings what it was.
    EXPECT_EQ(ran.ok(), failed != "cudaGraphLaunch") << failed << ": " << ran;
    EXPECT_EQ(Number(), ran.ok() ? 2 : 1) << failed;
    ASSERT_LT(call, 20u);
  }
  EXPECT_EQ(Number(), 2);
}

TEST_F(FailingGraphs, OfALostDeviceNothingIsTriedAgain) {
  ASSERT_TRUE(Run(1).ok());
  sim_->fail_call(2, cudaErrorIllegalAddress, /*lost=*/1);
  EXPECT_TRUE(IsDeviceLost(Run(2)));
  EXPECT_EQ(calls_, 2);
  sim_->clear();
  EXPECT_FALSE(Capturing());
}

// A first run that fails has loaded nothing: the next is the first.
TEST_F(FailingGraphs, AStepThatFailedIsNotRecordedNext) {
  sim_->fail_call(1, cudaErrorUnknown, /*lost=*/0);
  EXPECT_EQ(Run(1).code(), absl::StatusCode::kInternal);
  for (int i = 0; i < 4; ++i) EXPECT_TRUE(Run(3).ok());
  EXPECT_EQ(calls_, 3) << "failed, as it is, recorded, then never again";
  EXPECT_EQ(Number(), 3);
}

}  // namespace
}  // namespace hydrad
