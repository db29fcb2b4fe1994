// The stand-in runtime: what a correct program gets, and which misuse shows.
#include <cublasLt.h>
#include <cuda_bf16.h>

#include <thread>

#include "test_util.h"

namespace ptxsim_test {
namespace {

__global__ void AddOne(int* p, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) p[i] += 1;
}
__global__ void Scale(int* p, int n, int by) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) p[i] *= by;
}

constexpr int kN = 100;

class RuntimeTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (ptxsim_get() == nullptr)
      GTEST_SKIP() << "about the stand-in runtime's findings, and this is NVIDIA's";
    ptxsim_get()->print_findings(0);
    ASSERT_EQ(cudaStreamCreateWithFlags(&a_, cudaStreamNonBlocking), cudaSuccess);
    ASSERT_EQ(cudaStreamCreateWithFlags(&b_, cudaStreamNonBlocking), cudaSuccess);
    ASSERT_EQ(cudaEventCreateWithFlags(&event_, cudaEventDisableTiming), cudaSuccess);
    ASSERT_EQ(cudaMalloc(reinterpret_cast<void**>(&device_), kN * 4), cudaSuccess);
    ASSERT_EQ(cudaMallocHost(reinterpret_cast<void**>(&in_), kN * 4), cudaSuccess);
    ASSERT_EQ(cudaMallocHost(reinterpret_cast<void**>(&out_), kN * 4), cudaSuccess);
    for (int i = 0; i < kN; ++i) in_[i] = i, out_[i] = -1;
  }
  void TearDown() override {
    if (ptxsim_get() == nullptr) return;
    ClearFindings();
    cudaFreeHost(in_);
    cudaFreeHost(out_);
    cudaFree(device_);
    cudaEventDestroy(event_);
    cudaStreamDestroy(a_);
    cudaStreamDestroy(b_);
    ptxsim_get()->print_findings(1);
  }
  void Upload() { ASSERT_EQ(cudaMemcpyAsync(device_, in_, kN * 4, cudaMemcpyHostToDevice, a_), cudaSuccess); }
  void Download(cudaStream_t stream) {
    ASSERT_EQ(cudaMemcpyAsync(out_, device_, kN * 4, cudaMemcpyDeviceToHost, stream), cudaSuccess);
  }
  bool Finds(const std::string& what) {
    std::string findings = Findings();
    ClearFindings();
    return findings.find(what) != std::string::npos;
  }

  cudaStream_t a_, b_;
  cudaEvent_t event_;
  int *device_, *in_, *out_;
};

TEST_F(RuntimeTest, WorkRunsWhenItIsWaitedFor) {
  Upload();
  AddOne<<<1, 128, 0, a_>>>(device_, kN);
  Download(a_);
  EXPECT_EQ(out_[5], -1);  // nobody has asked for it
  ASSERT_EQ(cudaStreamSynchronize(a_), cudaSuccess);
  EXPECT_EQ(out_[5], 6);
  EXPECT_EQ(Findings(), "");
}

TEST_F(RuntimeTest, PinnedBufferReusedTooEarlyShows) {
  Upload();
  in_[5] = 1000;
  Download(a_);
  ASSERT_EQ(cudaStreamSynchronize(a_), cudaSuccess);
  EXPECT_EQ(out_[5], 1000);
}

TEST_F(RuntimeTest, PageableBufferIsReadAtOnce) {
  std::vector<int> pageable(in_, in_ + kN);
  ASSERT_EQ(cudaMemcpyAsync(device_, pageable.data(), kN * 4, cudaMemcpyHostToDevice, a_), cudaSuccess);
  pageable[5] = 1000;
  std::vector<int> back(kN);
  ASSERT_EQ(cudaMemcpyAsync(back.data(), device_, kN * 4, cudaMemcpyDeviceToHost, a_), cudaSuccess);
  EXPECT_EQ(back[5], 5);  // a copy to pageable memory has happened when it returns
}

// cudaMemcpy has read it then, but a stream that does not wait for the null stream may be ahead of the bytes.
TEST_F(RuntimeTest, PageableBytesMayBeUnderWayWhenTheCallReturns) {
  ASSERT_EQ(cudaMemset(device_, 0, kN * 4), cudaSuccess);
  ASSERT_EQ(cudaDeviceSynchronize(), cudaSuccess);
  {
    const std::vector<int> pageable(in_, in_ + kN);
    ASSERT_EQ(cudaMemcpy(device_, pageable.data(), kN * 4, cudaMemcpyHostToDevice), cudaSuccess);
  }
  Download(a_);
  ASSERT_EQ(cudaStreamSynchronize(a_), cudaSuccess);
  EXPECT_EQ(out_[5], 0);
  ASSERT_EQ(cudaStreamSynchronize(nullptr), cudaSuccess);
  Download(a_);
  ASSERT_EQ(cudaStreamSynchronize(a_), cudaSuccess);
  EXPECT_EQ(out_[5], 5);
}

TEST_F(RuntimeTest, StreamsMeetAtEventsOnly) {
  ASSERT_EQ(cudaMemset(device_, 0, kN * 4), cudaSuccess);
  ASSERT_EQ(cudaDeviceSynchronize(), cudaSuccess);
  Upload();
  ASSERT_EQ(cudaEventRecord(event_, a_), cudaSuccess);
  Download(b_);  // does not wait for the upload
  ASSERT_EQ(cudaStreamSynchronize(b_), cudaSuccess);
  EXPECT_EQ(out_[5], 0);
  ASSERT_EQ(cudaStreamWaitEvent(b_, event_, 0), cudaSuccess);
  Download(b_);
  ASSERT_EQ(cudaStreamSynchronize(b_), cudaSuccess);
  EXPECT_EQ(out_[5], 5);
  ASSERT_EQ(cudaEventQuery(event_), cudaSuccess);
}

TEST_F(RuntimeTest, EventQueriesMakeProgress) {
  Upload();
  Download(a_);
  ASSERT_EQ(cudaEventRecord(event_, a_), cudaSuccess);
  int polls = 0;
  while (cudaEventQuery(event_) == cudaErrorNotReady) ++polls;
  EXPECT_GT(polls, 0);
  EXPECT_EQ(out_[5], 5);
}

TEST_F(RuntimeTest, BlockingStreamsAreOrderedAgainstTheNullStream) {
  cudaStream_t blocking;
  ASSERT_EQ(cudaStreamCreate(&blocking), cudaSuccess);
  ASSERT_EQ(cudaMemcpyAsync(device_, in_, kN * 4, cudaMemcpyHostToDevice, blocking), cudaSuccess);
  AddOne<<<1, 128>>>(device_, kN);
  Scale<<<1, 128, 0, blocking>>>(device_, kN, 3);
  Download(nullptr);
  ASSERT_EQ(cudaStreamSynchronize(nullptr), cudaSuccess);
  EXPECT_EQ(out_[5], 18);
  ASSERT_EQ(cudaStreamDestroy(blocking), cudaSuccess);
}

TEST_F(RuntimeTest, EagerStreamsRunAtOnce) {
  ptxsim_get()->set_lazy_streams(0);
  Upload();
  Download(a_);
  EXPECT_EQ(out_[5], 5);
  ptxsim_get()->set_lazy_streams(1);
}

TEST_F(RuntimeTest, GraphsReplayUpdateAndKeepDependencies) {
  cudaGraph_t graph;
  cudaGraphExec_t exec;
  ASSERT_EQ(cudaStreamBeginCapture(a_, cudaStreamCaptureModeThreadLocal), cudaSuccess);
  Upload();
  AddOne<<<1, 128, 0, a_>>>(device_, kN);
  ASSERT_EQ(cudaEventRecord(event_, a_), cudaSuccess);
  ASSERT_EQ(cudaStreamWaitEvent(b_, event_, 0), cudaSuccess);
  Scale<<<1, 128, 0, b_>>>(device_, kN, 2);
  Download(b_);
  ASSERT_EQ(cudaEventRecord(event_, b_), cudaSuccess);
  ASSERT_EQ(cudaStreamWaitEvent(a_, event_, 0), cudaSuccess);
  ASSERT_EQ(cudaStreamEndCapture(a_, &graph), cudaSuccess);
  ASSERT_EQ(cudaGraphInstantiate(&exec, graph, 0), cudaSuccess);
  for (int replay = 0; replay < 2; ++replay) {
    in_[5] = 10 + replay;
    ASSERT_EQ(cudaGraphLaunch(exec, a_), cudaSuccess);
    ASSERT_EQ(cudaStreamSynchronize(a_), cudaSuccess);
    EXPECT_EQ(out_[5], 2 * (11 + replay));
  }
  cudaGraphNode_t nodes[8];
  size_t count = 8;
  ASSERT_EQ(cudaGraphGetNodes(graph, nodes, &count), cudaSuccess);
  ASSERT_EQ(count, 4u);
  cudaKernelNodeParams params;
  ASSERT_EQ(cudaGraphKernelNodeGetParams(nodes[2], &params), cudaSuccess);
  int by = 7;
  params.kernelParams[2] = &by;
  ASSERT_EQ(cudaGraphExecKernelNodeSetParams(exec, nodes[2], &params), cudaSuccess);
  ASSERT_EQ(cudaGraphLaunch(exec, a_), cudaSuccess);
  ASSERT_EQ(cudaStreamSynchronize(a_), cudaSuccess);
  EXPECT_EQ(out_[5], 84);
  cudaGraphExecUpdateResultInfo info;
  ASSERT_EQ(cudaGraphExecUpdate(exec, graph, &info), cudaSuccess);
  ASSERT_EQ(cudaGraphLaunch(exec, a_), cudaSuccess);
  ASSERT_EQ(cudaStreamSynchronize(a_), cudaSuccess);
  EXPECT_EQ(out_[5], 24);
  ASSERT_EQ(cudaGraphDestroy(graph), cudaSuccess);
  ASSERT_EQ(cudaGraphExecDestroy(exec), cudaSuccess);
  EXPECT_EQ(Findings(), "");
}

TEST_F(RuntimeTest, GraphWithoutAnEventBetweenItsStreamsShows) {
  ASSERT_EQ(cudaMemset(device_, 0, kN * 4), cudaSuccess);
  ASSERT_EQ(cudaDeviceSynchronize(), cudaSuccess);
  cudaGraph_t graph;
  cudaGraphExec_t exec;
  ASSERT_EQ(cudaStreamBeginCapture(a_, cudaStreamCaptureModeThreadLocal), cudaSuccess);
  ASSERT_EQ(cudaEventRecord(event_, a_), cudaSuccess);
  ASSERT_EQ(cudaStreamWaitEvent(b_, event_, 0), cudaSuccess);
  Upload();      // in a
  Download(b_);  // in b, beside it
  ASSERT_EQ(cudaEventRecord(event_, b_), cudaSuccess);
  ASSERT_EQ(cudaStreamWaitEvent(a_, event_, 0), cudaSuccess);
  ASSERT_EQ(cudaStreamEndCapture(a_, &graph), cudaSuccess);
  ASSERT_EQ(cudaGraphInstantiate(&exec, graph, 0), cudaSuccess);
  ASSERT_EQ(cudaGraphLaunch(exec, a_), cudaSuccess);
  ASSERT_EQ(cudaStreamSynchronize(a_), cudaSuccess);
  EXPECT_EQ(out_[5], 0);
  cudaGraphDestroy(graph);
  cudaGraphExecDestroy(exec);
}

TEST_F(RuntimeTest, MisuseOfCaptureIsFound) {
  cudaGraph_t graph;
  ASSERT_EQ(cudaStreamBeginCapture(a_, cudaStreamCaptureModeThreadLocal), cudaSuccess);
  void* p;
  EXPECT_EQ(cudaMalloc(&p, 64), cudaErrorStreamCaptureUnsupported);
  EXPECT_EQ(cudaStreamEndCapture(a_, &graph), cudaErrorStreamCaptureInvalidated);
  EXPECT_TRUE(Finds("cudaMalloc while a stream is captured"));
  ASSERT_EQ(cudaStreamBeginCapture(a_, cudaStreamCaptureModeThreadLocal), cudaSuccess);
  ASSERT_EQ(cudaEventRecord(event_, a_), cudaSuccess);
  ASSERT_EQ(cudaStreamWaitEvent(b_, event_, 0), cudaSuccess);
  AddOne<<<1, 128, 0, b_>>>(device_, kN);
  EXPECT_EQ(cudaStreamEndCapture(a_, &graph), cudaErrorStreamCaptureUnjoined);
  EXPECT_TRUE(Finds("joined"));
  // Another thread may allocate while this one captures.
  ASSERT_EQ(cudaStreamBeginCapture(a_, cudaStreamCaptureModeThreadLocal), cudaSuccess);
  std::thread([] {
    void* q;
    EXPECT_EQ(cudaMalloc(&q, 64), cudaSuccess);
    EXPECT_EQ(cudaFree(q), cudaSuccess);
  }).join();
  ASSERT_EQ(cudaStreamEndCapture(a_, &graph), cudaSuccess);
  cudaGraphDestroy(graph);
}

TEST_F(RuntimeTest, MisuseOfMemoryIsFound) {
  EXPECT_EQ(cudaMemcpy(device_, in_, kN * 4 + 4, cudaMemcpyHostToDevice), cudaErrorInvalidValue);
  EXPECT_TRUE(Finds("destination is not (wholly)"));
  EXPECT_EQ(cudaMemcpy(device_, out_, 4, cudaMemcpyDeviceToHost), cudaErrorInvalidValue);
  EXPECT_TRUE(Finds("is not (wholly)"));
  EXPECT_EQ(cudaMemsetAsync(device_ + 1, 0, kN * 4, a_), cudaErrorInvalidValue);
  EXPECT_TRUE(Finds("memset outside"));
  EXPECT_EQ(cudaFree(device_ + 1), cudaErrorInvalidValue);
  EXPECT_TRUE(Finds("cudaFree of a pointer"));
  EXPECT_EQ(cudaFree(in_), cudaErrorInvalidValue);
  EXPECT_TRUE(Finds("cudaFree of a pointer"));
}

TEST_F(RuntimeTest, BadLaunchesAreRefused) {
  Scale<<<1, 2048, 0, a_>>>(device_, kN, 1);
  EXPECT_EQ(cudaGetLastError(), cudaErrorInvalidConfiguration);
  EXPECT_TRUE(Finds("a block of 2048 threads"));
  Scale<<<1, 32, 60000, a_>>>(device_, kN, 1);
  EXPECT_EQ(cudaGetLastError(), cudaErrorInvalidConfiguration);
  EXPECT_TRUE(Finds("dynamic shared memory"));
  ASSERT_EQ(cudaFuncSetAttribute(Scale, cudaFuncAttributeMaxDynamicSharedMemorySize, 60000), cudaSuccess);
  Scale<<<1, 32, 60000, a_>>>(device_, 0, 1);
  EXPECT_EQ(cudaStreamSynchronize(a_), cudaSuccess);
}

TEST_F(RuntimeTest, MemoryIsLimited) {
  size_t free, total;
  ASSERT_EQ(cudaMemGetInfo(&free, &total), cudaSuccess);
  void* p = nullptr;
  EXPECT_EQ(cudaMalloc(&p, free + 1), cudaErrorMemoryAllocation);
  EXPECT_EQ(cudaGetLastError(), cudaErrorMemoryAllocation);
  EXPECT_EQ(Findings(), "");  // not misuse
}

// ---- cuBLASLt

struct Matmul {
  bool transpose_a = false, transpose_b = false, bias = false;
  float alpha = 1, beta = 0;
  cudaDataType_t out = CUDA_R_32F;
  int batches = 1;
};

// Multiplies [m, k] by [k, n], column major, and compares with a loop. Small integers, so every sum is exact.
void TestMatmul(const Matmul& t) {
  const int m = 7, n = 5, k = 37, bytes = t.out == CUDA_R_32F ? 4 : 2;
  std::vector<__nv_bfloat16> a(m * k * t.batches), b(k * n * t.batches), bias(m);
  std::vector<float> want(m * n * t.batches);
  auto small = [](int i) { return float(i * 7 % 11 - 5); };
  for (size_t i = 0; i < a.size(); ++i) a[i] = __float2bfloat16(small(i));
  for (size_t i = 0; i < b.size(); ++i) b[i] = __float2bfloat16(small(i + 3));
  for (int i = 0; i < m; ++i) bias[i] = __float2bfloat16(float(i));
  Array<__nv_bfloat16> da(a), db(b), dbias(bias);
  Array<char> out(m * n * t.batches * bytes), workspace(256);
  cublasLtHandle_t handle;
  cublasLtMatmulDesc_t d;
  cublasLtMatrixLayout_t la, lb, lo;
  ASSERT_EQ(cublasLtCreate(&handle), CUBLAS_STATUS_SUCCESS);
  ASSERT_EQ(cublasLtMatmulDescCreate(&d, CUBLAS_COMPUTE_32F, CUDA_R_32F), CUBLAS_STATUS_SUCCESS);
  cublasOperation_t op = CUBLAS_OP_T;
  if (t.transpose_a) cublasLtMatmulDescSetAttribute(d, CUBLASLT_MATMUL_DESC_TRANSA, &op, sizeof(op));
  if (t.transpose_b) cublasLtMatmulDescSetAttribute(d, CUBLASLT_MATMUL_DESC_TRANSB, &op, sizeof(op));
  if (t.bias) {
    cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_BIAS;
    const void* p = dbias.get();
    cudaDataType_t type = CUDA_R_16BF;
    cublasLtMatmulDescSetAttribute(d, CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue, sizeof(epilogue));
    cublasLtMatmulDescSetAttribute(d, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &p, sizeof(p));
    cublasLtMatmulDescSetAttribute(d, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, &type, sizeof(type));
  }
  cublasLtMatrixLayoutCreate(&la, CUDA_R_16BF, t.transpose_a ? k : m, t.transpose_a ? m : k,
                             t.transpose_a ? k : m);
  cublasLtMatrixLayoutCreate(&lb, CUDA_R_16BF, t.transpose_b ? n : k, t.transpose_b ? k : n,
                             t.transpose_b ? n : k);
  cublasLtMatrixLayoutCreate(&lo, t.out, m, n, m);
  const int64_t strides[] = {m * k, k * n, m * n};
  cublasLtMatrixLayout_t layouts[] = {la, lb, lo};
  for (int l = 0; l < 3; ++l) {
    cublasLtMatrixLayoutSetAttribute(layouts[l], CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &t.batches, sizeof(int));
    cublasLtMatrixLayoutSetAttribute(layouts[l], CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, &strides[l],
                                     sizeof(int64_t));
  }
  cublasLtMatmulHeuristicResult_t best;
  int found = 0;
  ASSERT_EQ(cublasLtMatmulAlgoGetHeuristic(handle, d, la, lb, lo, lo, nullptr, 1, &best, &found),
            CUBLAS_STATUS_SUCCESS);
  ASSERT_EQ(found, 1);
  ASSERT_EQ(cublasLtMatmul(handle, d, &t.alpha, da.get(), la, db.get(), lb, &t.beta, out.get(), lo, out.get(),
                           lo, &best.algo, workspace.get(), workspace.size(), nullptr),
            CUBLAS_STATUS_SUCCESS);
  std::vector<char> got = out.Read();
  for (int batch = 0; batch < t.batches; ++batch) {
    for (int j = 0; j < n; ++j) {
      for (int i = 0; i < m; ++i) {
        float sum = 0;
        for (int q = 0; q < k; ++q) {
          sum += float(a[batch * m * k + (t.transpose_a ? i * k + q : q * m + i)]) *
                 float(b[batch * k * n + (t.transpose_b ? q * n + j : j * k + q)]);
        }
        float value = t.alpha * sum + (t.bias ? i : 0);  // beta multiplies zeros
        const char* p = &got[(batch * m * n + j * m + i) * bytes];
        float have;
        if (bytes == 4)
          std::memcpy(&have, p, 4);
        else
          have = float(*reinterpret_cast<const __nv_bfloat16*>(p)), value = float(__float2bfloat16(value));
        EXPECT_EQ(have, value) << i << ", " << j << " of batch " << batch;
      }
    }
  }
  for (cublasLtMatrixLayout_t l : layouts) cublasLtMatrixLayoutDestroy(l);
  cublasLtMatmulDescDestroy(d);
  cublasLtDestroy(handle);
}

TEST_F(RuntimeTest, MatrixProducts) {
  TestMatmul({});
  TestMatmul({.transpose_a = true});
  TestMatmul({.transpose_b = true});
  TestMatmul({.transpose_a = true, .transpose_b = true, .alpha = 2});
  TestMatmul({.transpose_a = true, .bias = true, .out = CUDA_R_16BF});
  TestMatmul({.transpose_a = true, .beta = 1, .batches = 3});
  EXPECT_EQ(Findings(), "");
}

TEST_F(RuntimeTest, MisuseOfMatrixProductsIsFound) {
  cublasLtHandle_t handle;
  cublasLtMatmulDesc_t d;
  cublasLtMatrixLayout_t square, wide, big;
  cublasLtCreate(&handle);
  cublasLtMatmulDescCreate(&d, CUBLAS_COMPUTE_32F, CUDA_R_32F);
  cublasLtMatrixLayoutCreate(&square, CUDA_R_32F, 4, 4, 4);
  cublasLtMatrixLayoutCreate(&wide, CUDA_R_32F, 4, 5, 4);
  cublasLtMatrixLayoutCreate(&big, CUDA_R_32F, 4, 100, 4);
  const float one = 1, zero = 0;
  auto run = [&](cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b, cublasLtMatrixLayout_t out, void* p) {
    return cublasLtMatmul(handle, d, &one, p, a, device_, b, &zero, device_, out, device_, out, nullptr,
                          nullptr, 0, a_);
  };
  EXPECT_EQ(run(wide, square, square, device_), CUBLAS_STATUS_INVALID_VALUE);
  EXPECT_TRUE(Finds("shapes do not match"));
  EXPECT_EQ(run(square, big, big, device_), CUBLAS_STATUS_INVALID_VALUE);
  EXPECT_TRUE(Finds("B is not wholly in device memory"));
  std::vector<float> host(16);
  EXPECT_EQ(run(square, square, square, host.data()), CUBLAS_STATUS_INVALID_VALUE);
  EXPECT_TRUE(Finds("A is not wholly in device memory"));
  cublasLtMatmulHeuristicResult_t best;  // for pointers aligned to 256 bytes
  int found = 0;
  ASSERT_EQ(
      cublasLtMatmulAlgoGetHeuristic(handle, d, square, square, square, square, nullptr, 1, &best, &found),
      CUBLAS_STATUS_SUCCESS);
  EXPECT_EQ(cublasLtMatmul(handle, d, &one, device_ + 4, square, device_, square, &zero, device_, square,
                           device_, square, &best.algo, nullptr, 0, a_),
            CUBLAS_STATUS_INVALID_VALUE);
  EXPECT_TRUE(Finds("A is less aligned than the algorithm was chosen for"));
  const cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_BIAS;
  cublasLtMatmulDescSetAttribute(d, CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue, sizeof(epilogue));
  EXPECT_EQ(
      cublasLtMatmulAlgoGetHeuristic(handle, d, square, square, square, square, nullptr, 1, &best, &found),
      CUBLAS_STATUS_INVALID_VALUE);
  EXPECT_TRUE(Finds("an algorithm is chosen before the bias is known"));
  for (cublasLtMatrixLayout_t l : {square, wide, big}) cublasLtMatrixLayoutDestroy(l);
  EXPECT_EQ(run(square, square, square, device_), CUBLAS_STATUS_INVALID_VALUE);
  EXPECT_TRUE(Finds("a handle of what does not exist"));
  EXPECT_EQ(cublasLtMatmulDescDestroy(d), CUBLAS_STATUS_SUCCESS);
  EXPECT_EQ(cublasLtMatmulDescDestroy(d), CUBLAS_STATUS_INVALID_VALUE);
  EXPECT_TRUE(Finds("what is destroyed does not exist"));
  cublasLtDestroy(handle);
}

}  // namespace
}  // namespace ptxsim_test
