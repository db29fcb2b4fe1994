#include "server/backend/cuda/graphs.h"

#include <gtest/gtest.h>

#include <thread>

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
    ASSERT_EQ(cudaMemsetAsync(sum, calls, sizeof(int32_t), stream), cudaSuccess);
    std::thread([&] {
      void* taken;
      allocated = cudaMalloc(&taken, 1024);
      freed = allocated == cudaSuccess ? cudaFree(taken) : allocated;
    }).join();
  };
  {
    StepGraphs graphs;
    for (int i = 0; i < 3; ++i) {
      graphs.Run(kForm, stream, step);
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

}  // namespace
}  // namespace hydrad
