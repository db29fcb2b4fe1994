// Planted bugs: every kind must be found, and named with its source line. Each kernel has one bug, chosen by
// a template argument, and a sound form that must stay silent.
#include <cassert>

#include "test_util.h"

namespace ptxsim_test {
namespace {

class ChecksTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (ptxsim_get() == nullptr) GTEST_SKIP() << "plants bugs, which only the simulator survives";
    ptxsim_get()->print_findings(0);
    ClearFindings();
  }
  void TearDown() override {
    if (ptxsim_get() == nullptr) return;
    ClearFindings();
    ptxsim_get()->print_findings(1);
  }

  // One of the findings says `what`, in this file, and the next call returns an error.
  static void ExpectFinding(const std::string& what) {
    EXPECT_NE(cudaDeviceSynchronize(), cudaSuccess);
    std::string findings = Findings();
    EXPECT_NE(findings.find(what), std::string::npos) << findings;
    EXPECT_NE(findings.find("checks_test.cu:"), std::string::npos) << findings;
    EXPECT_NE(findings.find("block (0,"), std::string::npos) << findings;
    ClearFindings();
  }
  static void ExpectSilence() {
    EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess);
    EXPECT_EQ(Findings(), "");
  }
};

template <bool kBug>
__global__ void ReadAfterWrite(int* out) {
  __shared__ int a[64];
  a[threadIdx.x] = threadIdx.x;
  if (!kBug) __syncthreads();
  out[threadIdx.x] = a[63 - threadIdx.x];
}

TEST_F(ChecksTest, MissingBarrierBeforeARead) {
  Array<int> out(64);
  ReadAfterWrite<false><<<1, 64>>>(out.get());
  ExpectSilence();
  ptxsim_get()->set_schedule(1);  // warp 1 first: warp 0 then reads what it wrote
  ReadAfterWrite<true><<<1, 64>>>(out.get());
  ExpectFinding("race: read after write in shared memory");
  ptxsim_get()->set_schedule(0);
}

template <bool kBug>
__global__ void WriteAfterRead(int* out) {
  __shared__ int a[64];
  a[threadIdx.x] = threadIdx.x;
  __syncthreads();
  int got = a[63 - threadIdx.x];
  if (!kBug) __syncthreads();
  a[threadIdx.x] = got;
  __syncthreads();
  out[threadIdx.x] = a[threadIdx.x];
}

TEST_F(ChecksTest, MissingBarrierBeforeAnOverwrite) {
  Array<int> out(64);
  WriteAfterRead<false><<<1, 64>>>(out.get());
  ExpectSilence();
  WriteAfterRead<true><<<1, 64>>>(out.get());
  ExpectFinding("race: write after read in shared memory");
}

template <bool kBug>
__global__ void WithinAWarp(int* out) {
  __shared__ int a[32];
  a[threadIdx.x] = threadIdx.x;
  if (!kBug) __syncwarp();
  out[threadIdx.x] = a[31 - threadIdx.x];
}

TEST_F(ChecksTest, MissingSyncwarp) {
  Array<int> out(32);
  WithinAWarp<false><<<1, 32>>>(out.get());
  ExpectSilence();
  WithinAWarp<true><<<1, 32>>>(out.get());
  ExpectFinding("race: read after write in shared memory");
}

__global__ void SameWord(int* out, bool different) { out[0] = different ? threadIdx.x : 7; }

TEST_F(ChecksTest, LanesThatWriteDifferentValuesToOnePlace) {
  Array<int> out(1);
  SameWord<<<1, 32>>>(out.get(), false);
  ExpectSilence();
  SameWord<<<1, 32>>>(out.get(), true);
  ExpectFinding("race: write after write in global memory");
}

template <bool kFence>
__global__ void LastBlock(int* partial, int* count, int* total) {
  if (threadIdx.x != 0) return;
  partial[blockIdx.x] = blockIdx.x;
  if (kFence) __threadfence();
  if (atomicAdd(count, 1) != int(gridDim.x) - 1) return;
  int sum = 0;
  for (int b = 0; b < int(gridDim.x); ++b) sum += partial[b];
  *total = sum;
}

TEST_F(ChecksTest, LastBlockWithoutAFence) {
  Array<int> partial(4), count(1), total(1);
  LastBlock<true><<<4, 32>>>(partial.get(), count.get(), total.get());
  ExpectSilence();
  ASSERT_EQ(cudaMemset(count.get(), 0, 4), cudaSuccess);
  LastBlock<false><<<4, 32>>>(partial.get(), count.get(), total.get());
  EXPECT_NE(cudaDeviceSynchronize(), cudaSuccess);
  std::string findings = Findings();
  EXPECT_NE(findings.find("race: read after write in global memory"), std::string::npos) << findings;
  EXPECT_NE(findings.find("another block"), std::string::npos) << findings;
}

__global__ void BlocksMeet(int* a, int stride) { a[blockIdx.x * stride] = threadIdx.x; }

TEST_F(ChecksTest, BlocksThatWriteTheSamePlace) {
  Array<int> a(4);
  BlocksMeet<<<4, 1>>>(a.get(), 1);
  ExpectSilence();
  BlocksMeet<<<4, 1>>>(a.get(), 0);
  EXPECT_NE(cudaDeviceSynchronize(), cudaSuccess);
  EXPECT_NE(Findings().find("race: write after write in global memory"), std::string::npos);
}

template <int kWait>
__global__ void WaitDepth(const float* in, float* out) {
  __shared__ alignas(16) float a[2][128];
  for (int n = 0; n < 2; ++n) {
    uint32_t to = uint32_t(__cvta_generic_to_shared(&a[n][threadIdx.x * 4]));
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to), "l"(in + n * 128 + threadIdx.x * 4)
                 : "memory");
    asm volatile("cp.async.commit_group;" ::: "memory");
  }
  asm volatile("cp.async.wait_group %0;" ::"n"(kWait) : "memory");
  __syncthreads();
  out[threadIdx.x] = a[0][threadIdx.x];
  asm volatile("cp.async.wait_group 0;" ::: "memory");
}

TEST_F(ChecksTest, WaitOfTheWrongDepth) {
  Array<float> in(256, 1.f), out(32);
  WaitDepth<1><<<1, 32>>>(in.get(), out.get());
  ExpectSilence();
  WaitDepth<2><<<1, 32>>>(in.get(), out.get());
  ExpectFinding("read of a cp.async destination before its wait_group");
  EXPECT_NE(out.Read()[0], 1.f);  // and the result shows it
}

__global__ void ForgetsItsCopy(const float* in) {
  __shared__ alignas(16) float a[128];
  uint32_t to = uint32_t(__cvta_generic_to_shared(&a[threadIdx.x * 4]));
  asm volatile("cp.async.ca.shared.global [%0], [%1], 16;" ::"r"(to), "l"(in + threadIdx.x * 4) : "memory");
  asm volatile("cp.async.commit_group;" ::: "memory");
}

TEST_F(ChecksTest, CopyThatNobodyWaitsFor) {
  Array<float> in(128);
  ForgetsItsCopy<<<1, 32>>>(in.get());
  ExpectFinding("thread exits with a cp.async nobody waited for");
}

__global__ void Uninitialised(int* out, const int* in, bool shared) {
  __shared__ int a[64];
  if (threadIdx.x < 31) a[threadIdx.x] = 1;
  __syncthreads();
  out[threadIdx.x] = shared ? a[threadIdx.x] : in[threadIdx.x];
}

TEST_F(ChecksTest, UninitialisedMemory) {
  Array<int> out(32);
  Uninitialised<<<1, 32>>>(out.get(), out.get(), true);
  ExpectFinding("read of uninitialised shared memory");
  int* raw;
  ASSERT_EQ(cudaMalloc(reinterpret_cast<void**>(&raw), 128), cudaSuccess);
  Uninitialised<<<1, 32>>>(out.get(), raw, false);
  ExpectFinding("read of uninitialised global memory");
  ASSERT_EQ(cudaMemset(raw, 0, 128), cudaSuccess);
  Uninitialised<<<1, 32>>>(out.get(), raw, false);
  ExpectSilence();
  cudaFree(raw);
}

__global__ void Touch(int* p, int index, bool write) {
  if (write)
    p[index] = 1;
  else if (p[index] == 12345)
    p[0] = 1;
}

TEST_F(ChecksTest, OutOfBounds) {
  for (int level : {PTXSIM_CHECKS_BOUNDS, PTXSIM_CHECKS_FULL}) {
    ptxsim_get()->set_checks(level);
    Array<int> a(33);
    Touch<<<1, 1>>>(a.get(), 32, true);
    ExpectSilence();
    Touch<<<1, 1>>>(a.get(), 33, false);
    ExpectFinding("out-of-bounds read of 4 bytes of global memory");
    Touch<<<1, 1>>>(a.get(), -1, true);
    ExpectFinding("out-of-bounds write of 4 bytes of global memory");
    Touch<<<1, 1>>>(nullptr, 0, true);
    ExpectFinding("no device address");
    int* freed;
    ASSERT_EQ(cudaMalloc(reinterpret_cast<void**>(&freed), 128), cudaSuccess);
    ASSERT_EQ(cudaFree(freed), cudaSuccess);
    Touch<<<1, 1>>>(freed, 3, true);
    ExpectFinding("byte 12 of a freed allocation of 128 bytes");
  }
}

__global__ void PastASharedArray(int* out, int index) {
  __shared__ int a[10], b[10];
  a[threadIdx.x] = b[threadIdx.x] = 1;
  __syncthreads();
  out[threadIdx.x] = a[index] + b[threadIdx.x];
}
__global__ void PastDynamicShared(int* out, int index) {
  extern __shared__ int dynamic[];
  dynamic[threadIdx.x] = 1;
  __syncthreads();
  out[threadIdx.x] = dynamic[index];
}

TEST_F(ChecksTest, PastASharedArray) {
  Array<int> out(10);
  PastASharedArray<<<1, 10>>>(out.get(), 9);
  PastDynamicShared<<<1, 10, 40>>>(out.get(), 9);
  ExpectSilence();
  PastASharedArray<<<1, 10>>>(out.get(), 10);  // into the gap between the two
  ExpectFinding("out-of-bounds read of 4 bytes of shared memory");
  PastDynamicShared<<<1, 10, 40>>>(out.get(), 10);
  ExpectFinding("out-of-bounds read of 4 bytes of shared memory");
}

// Two arrays of 32 side by side in one block of shared memory, the second filled by the second warp if there
// is one. Nothing lies between them: a read that strays from one into the other shows where nobody has
// written, or where somebody did and no barrier came after.
__global__ void FromOneArrayIntoTheNext(int* out, int index) {
  extern __shared__ int dynamic[];
  dynamic[threadIdx.x] = 1;
  __syncwarp();
  if (threadIdx.x < 32) out[threadIdx.x] = dynamic[index];
}

TEST_F(ChecksTest, FromOneArrayIntoTheNext) {
  Array<int> out(32);
  FromOneArrayIntoTheNext<<<1, 32, 256>>>(out.get(), 31);
  ExpectSilence();
  FromOneArrayIntoTheNext<<<1, 32, 256>>>(out.get(), 32);
  ExpectFinding("read of uninitialised shared memory");
  ptxsim_get()->set_schedule(1);
  FromOneArrayIntoTheNext<<<1, 64, 256>>>(out.get(), 32);
  ExpectFinding("race: read after write in shared memory");
  ptxsim_get()->set_schedule(0);
}

__global__ void Misaligned(char* p) { *reinterpret_cast<float4*>(p + 4) = float4{}; }

TEST_F(ChecksTest, Misaligned) {
  Array<char> a(64);
  Misaligned<<<1, 1>>>(a.get());
  ExpectFinding("misaligned 16-byte access");
}

template <bool kBug>
__global__ void SkipsABarrier(int* out) {
  __shared__ int a[64];
  a[threadIdx.x] = 1;
  if (!kBug || threadIdx.x < 32) {
    __syncthreads();
  }
  out[threadIdx.x] = a[threadIdx.x];
  __syncthreads();
  out[threadIdx.x] += 1;
}

TEST_F(ChecksTest, OneWarpSkipsABarrier) {
  Array<int> out(64);
  SkipsABarrier<false><<<1, 64>>>(out.get());
  ExpectSilence();
  SkipsABarrier<true><<<1, 64>>>(out.get());
  ExpectFinding("divergent barrier");
}

__global__ void NeverMeets(int* out) {
  if (threadIdx.x < 32)
    asm volatile("bar.sync 1, 64;" ::: "memory");
  else
    asm volatile("bar.sync 2, 64;" ::: "memory");
  out[threadIdx.x] = 1;
}

TEST_F(ChecksTest, DeadlockNamesEachWarpsLine) {
  Array<int> out(64);
  NeverMeets<<<1, 64>>>(out.get());
  EXPECT_NE(cudaDeviceSynchronize(), cudaSuccess);
  std::string findings = Findings();
  EXPECT_NE(findings.find("deadlock"), std::string::npos) << findings;
  EXPECT_NE(findings.find("warp 0 waits at"), std::string::npos) << findings;
  EXPECT_NE(findings.find("warp 1 waits at"), std::string::npos) << findings;
}

__global__ void HalfAShuffle(int* out) {
  int v = threadIdx.x;
  if (threadIdx.x < 16) v = __shfl_sync(0xffff, v, 20);
  out[threadIdx.x] = v;
}

TEST_F(ChecksTest, ShuffleFromALaneThatDoesNotTakePart) {
  Array<int> out(32);
  HalfAShuffle<<<1, 32>>>(out.get());
  ExpectFinding("shuffle reads a lane that does not take part");
}

__global__ void Asserts(int n) { assert(n < 5 && "n is small"); }
__global__ void Traps() { asm volatile("trap;"); }

TEST_F(ChecksTest, AssertionsAndTraps) {
  Asserts<<<1, 1>>>(4);
  ExpectSilence();
  Asserts<<<1, 1>>>(5);
  ExpectFinding("assertion failed: n < 5 && \"n is small\"");
  Traps<<<1, 1>>>();
  ExpectFinding("trap");
}

__global__ void Spins(volatile int* flag) {
  while (*flag == 0) {
  }
}

TEST_F(ChecksTest, EndlessLoop) {
  ptxsim_get()->set_block_limit(2'000'000);
  Array<int> flag(1);
  Spins<<<1, 1>>>(flag.get());
  ExpectFinding("instruction limit");
  ptxsim_get()->set_block_limit(200'000'000);
}

__global__ void BankConflicts(float* out, int stride) {
  __shared__ float a[32 * 33];
  a[threadIdx.x * stride] = 1.f;
  __syncthreads();
  out[threadIdx.x] = a[threadIdx.x * stride];
}

TEST_F(ChecksTest, CountersOfTraffic) {
  const ptxsim_api* sim = ptxsim_get();
  sim->set_counting(1);
  sim->clear_launches();
  Array<float> out(32);
  BankConflicts<<<1, 32>>>(out.get(), 33);
  BankConflicts<<<1, 32>>>(out.get(), 32);
  ExpectSilence();
  sim->set_counting(0);
  ptxsim_counters good, bad;
  ASSERT_EQ(sim->launch(0, &good), 1);
  ASSERT_EQ(sim->launch(1, &bad), 1);
  EXPECT_EQ(good.wavefronts, 2u);
  EXPECT_EQ(good.ideal_wavefronts, 2u);
  EXPECT_EQ(bad.wavefronts, 64u);
  EXPECT_EQ(bad.ideal_wavefronts, 2u);
  EXPECT_EQ(good.written_asked, 128u);
  EXPECT_EQ(good.written_moved, 128u);
  EXPECT_EQ(good.written_distinct, 128u);
  EXPECT_EQ(good.blocks, 1u);
  EXPECT_EQ(good.barriers, 1u);
}

}  // namespace
}  // namespace ptxsim_test
