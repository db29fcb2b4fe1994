// Failures that a test asks for: which call returns them, what it leaves undone, and what a lost device does.
#include <cublasLt.h>

#include <unistd.h>

#include <cstdlib>
#include <fstream>

#include "test_util.h"

namespace ptxsim_test {
namespace {

__global__ void AddOne(int* p) { p[threadIdx.x] += 1; }

constexpr int kN = 32;

// Calls of most kinds, each of which stops it: allocations, copies, a launch, a graph, a matrix's layout.
// What it took is given back however it ends. Returns the first error.
cudaError_t History(int* result) {
  cudaStream_t stream = nullptr;
  cudaEvent_t event = nullptr;
  int* device = nullptr;
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t executable = nullptr;
  cublasLtMatrixLayout_t layout = nullptr;
  int host[kN] = {};
  const auto run = [&]() -> cudaError_t {
    cudaError_t e;
    if ((e = cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking)) != cudaSuccess) return e;
    if ((e = cudaEventCreateWithFlags(&event, cudaEventDisableTiming)) != cudaSuccess) return e;
    if ((e = cudaMalloc(reinterpret_cast<void**>(&device), sizeof host)) != cudaSuccess) return e;
    if ((e = cudaMemcpyAsync(device, host, sizeof host, cudaMemcpyHostToDevice, stream)) != cudaSuccess)
      return e;
    AddOne<<<1, kN, 0, stream>>>(device);
    if ((e = cudaGetLastError()) != cudaSuccess) return e;
    if ((e = cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal)) != cudaSuccess) return e;
    AddOne<<<1, kN, 0, stream>>>(device);
    const cudaError_t captured = cudaGetLastError();
    if ((e = cudaStreamEndCapture(stream, &graph)) != cudaSuccess) return e;
    if (captured != cudaSuccess) return captured;
    if ((e = cudaGraphInstantiate(&executable, graph, 0)) != cudaSuccess) return e;
    if ((e = cudaGraphLaunch(executable, stream)) != cudaSuccess) return e;
    if (cublasLtMatrixLayoutCreate(&layout, CUDA_R_32F, 1, 1, 1) != CUBLAS_STATUS_SUCCESS)
      return cudaErrorUnknown;
    if ((e = cudaEventRecord(event, stream)) != cudaSuccess) return e;
    if ((e = cudaEventSynchronize(event)) != cudaSuccess) return e;
    return cudaMemcpy(host, device, sizeof host, cudaMemcpyDeviceToHost);
  };
  cudaError_t error = run();
  *result = host[kN - 1];
  const auto note = [&](cudaError_t e) { error = error == cudaSuccess ? e : error; };
  if (layout != nullptr && cublasLtMatrixLayoutDestroy(layout) != CUBLAS_STATUS_SUCCESS)
    note(cudaErrorUnknown);
  if (executable != nullptr) note(cudaGraphExecDestroy(executable));
  if (graph != nullptr) note(cudaGraphDestroy(graph));
  if (device != nullptr) note(cudaFree(device));
  if (event != nullptr) note(cudaEventDestroy(event));
  if (stream != nullptr) note(cudaStreamDestroy(stream));
  cudaGetLastError();
  return error;
}

size_t FreeBytes() {
  size_t free = 0, total = 0;
  EXPECT_EQ(cudaMemGetInfo(&free, &total), cudaSuccess);
  return free;
}

class InjectionTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (sim_ == nullptr) GTEST_SKIP() << "only the stand-in fails when it is told to";
    sim_->clear();
  }
  void TearDown() override {
    if (sim_ == nullptr) return;
    EXPECT_EQ(Findings(), "");
    sim_->clear();
  }
  const ptxsim_api* const sim_ = ptxsim_get();
};

TEST_F(InjectionTest, EachCallInItsTurnFailsAlone) {
  const size_t free = FreeBytes();
  int result = 0;
  uint64_t call = 1;
  for (; call < 100; ++call) {
    sim_->fail_call(call, cudaErrorLaunchFailure, 0);
    const cudaError_t error = History(&result);
    if (sim_->failed_call() == nullptr) break;
    EXPECT_NE(error, cudaSuccess) << "call " << call << ", " << sim_->failed_call();
    sim_->clear();
    EXPECT_EQ(FreeBytes(), free) << "call " << call;
    ASSERT_EQ(History(&result), cudaSuccess) << "after the failure of call " << call;
    EXPECT_EQ(result, 2);
  }
  EXPECT_EQ(result, 2);
  EXPECT_EQ(call, sim_->calls() + 1);
  EXPECT_GT(call, 15u);
}

TEST_F(InjectionTest, EachCallInItsTurnLosesTheDevice) {
  const size_t free = FreeBytes();
  int result = 0;
  for (uint64_t call = 1; call < 100; ++call) {
    sim_->fail_call(call, cudaErrorIllegalAddress, 1);
    const cudaError_t error = History(&result);
    if (sim_->failed_call() == nullptr) break;
    EXPECT_NE(error, cudaSuccess) << "call " << call;
    EXPECT_EQ(cudaDeviceSynchronize(), cudaErrorIllegalAddress);
    sim_->clear();
    EXPECT_EQ(FreeBytes(), free) << "call " << call;
  }
  EXPECT_EQ(result, 2);
}

TEST_F(InjectionTest, AFailingCallDoesNothing) {
  Array<int> numbers(kN, 7);
  sim_->fail_call(1, cudaErrorLaunchFailure, 0);
  AddOne<<<1, kN>>>(numbers.get());
  EXPECT_EQ(cudaGetLastError(), cudaErrorLaunchFailure);
  EXPECT_STREQ(sim_->failed_call(), "__cudaLaunchKernel");
  EXPECT_EQ(numbers.Read()[0], 7);
  AddOne<<<1, kN>>>(numbers.get());
  EXPECT_EQ(cudaGetLastError(), cudaSuccess);
  EXPECT_EQ(numbers.Read()[0], 8);
}

TEST_F(InjectionTest, WhatIsGivenBackGoesAllTheSame) {
  const size_t free = FreeBytes();
  void* device = nullptr;
  ASSERT_EQ(cudaMalloc(&device, 1000), cudaSuccess);
  sim_->fail_call(1, cudaErrorECCUncorrectable, 0);
  EXPECT_EQ(cudaFree(device), cudaErrorECCUncorrectable);
  EXPECT_EQ(FreeBytes(), free);
}

TEST_F(InjectionTest, ALostDeviceRunsNothingMore) {
  Array<int> numbers(kN, 7);
  cudaStream_t stream;
  ASSERT_EQ(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), cudaSuccess);
  ASSERT_EQ(cudaDeviceSynchronize(), cudaSuccess);
  AddOne<<<1, kN, 0, stream>>>(numbers.get());
  sim_->fail_call(1, cudaErrorIllegalAddress, 1);
  EXPECT_EQ(cudaStreamSynchronize(stream), cudaErrorIllegalAddress);
  EXPECT_EQ(cudaStreamSynchronize(stream), cudaErrorIllegalAddress);
  AddOne<<<1, kN, 0, stream>>>(numbers.get());
  EXPECT_EQ(cudaGetLastError(), cudaErrorIllegalAddress);
  void* more = nullptr;
  EXPECT_EQ(cudaMalloc(&more, 8), cudaErrorIllegalAddress);
  EXPECT_EQ(sim_->check(), 0u);
  sim_->clear();
  EXPECT_EQ(numbers.Read()[0], 7);  // what was queued has gone with the device
  EXPECT_EQ(cudaStreamDestroy(stream), cudaSuccess);
}

TEST_F(InjectionTest, CublasLtSaysItInItsOwnWords) {
  cublasLtHandle_t library = nullptr;
  sim_->fail_call(1, cudaErrorMemoryAllocation, 0);
  EXPECT_EQ(cublasLtCreate(&library), CUBLAS_STATUS_ALLOC_FAILED);
  sim_->fail_call(2, cudaErrorLaunchFailure, 0);
  ASSERT_EQ(cublasLtCreate(&library), CUBLAS_STATUS_SUCCESS);
  EXPECT_EQ(cublasLtDestroy(library), CUBLAS_STATUS_EXECUTION_FAILED);
  cudaGetLastError();
}

// In a process of its own, which reads the environment.
class InjectionEnvironmentDeathTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (ptxsim_get() == nullptr) GTEST_SKIP() << "only the stand-in fails when it is told to";
    GTEST_FLAG_SET(death_test_style, "threadsafe");
  }
};

int Errors(int calls) {
  int devices = 0, first = 0;
  for (int i = 0; i < calls; ++i)
    first = first == 0 && cudaGetDeviceCount(&devices) != cudaSuccess ? i + 1 : first;
  return first;
}

TEST_F(InjectionEnvironmentDeathTest, NamesACall) {
  if (std::getenv("PTXSIM_FAIL") == nullptr) setenv("PTXSIM_FAIL", "3:cudaErrorNoDevice", 1);
  EXPECT_EXIT(std::exit(Errors(9) * 10 + static_cast<int>(cudaGetLastError() == cudaErrorNoDevice)),
              ::testing::ExitedWithCode(31), "");
  unsetenv("PTXSIM_FAIL");
}

TEST_F(InjectionEnvironmentDeathTest, NamesAFileThatComesLater) {
  const std::string file = ::testing::TempDir() + "/ptxsim_fail_" + std::to_string(getpid());
  if (std::getenv("PTXSIM_FAIL_FILE") == nullptr) setenv("PTXSIM_FAIL_FILE", file.c_str(), 1);
  EXPECT_EXIT(
      {
        const int before = Errors(5);
        std::ofstream(std::getenv("PTXSIM_FAIL_FILE")) << "2:700:lost";
        std::exit(before * 100 + Errors(5) * 10 +
                  static_cast<int>(cudaDeviceSynchronize() == cudaErrorIllegalAddress));
      },
      ::testing::ExitedWithCode(21), "");
  unsetenv("PTXSIM_FAIL_FILE");
}

}  // namespace
}  // namespace ptxsim_test
