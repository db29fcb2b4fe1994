// Whole blocks: barriers, atomics, asynchronous copies, CUB, control flow, functions, constants, local
// memory.
#include <cuda_bf16.h>
#include <cub/block/block_radix_sort.cuh>
#include <cub/block/block_reduce.cuh>
#include <cub/block/block_scan.cuh>

#include <cassert>
#include <numeric>

#include "test_util.h"

namespace ptxsim_test {
namespace {

// Runs a test body under several orders of blocks and warps.
template <class Body>
void UnderEverySchedule(Body body) {
  const ptxsim_api* sim = ptxsim_get();
  for (uint64_t schedule : {0, 1, 7, 8, 9}) {
    if (sim != nullptr) sim->set_schedule(schedule);
    body();
    EXPECT_EQ(Findings(), "") << "schedule " << schedule;
    if (sim == nullptr) return;
  }
  sim->set_schedule(0);
}

__global__ void Atomics(int* i, unsigned* u, unsigned long long* l, float* f, double* d, __nv_bfloat162* b) {
  int t = blockIdx.x * blockDim.x + threadIdx.x;
  atomicAdd(&i[0], t);
  atomicMax(&i[1], t);
  atomicMin(&i[2], -t);
  atomicXor(&i[3], t);
  atomicOr(&i[4], 1 << (t & 15));
  atomicInc(&u[0], 9);
  atomicDec(&u[1], 9);
  atomicExch(&u[2], 5u);
  atomicAdd(&l[0], 1ull << 33);
  atomicMax(&l[1], (unsigned long long)t << 32);
  atomicAdd(&f[0], 0.5f);
  atomicAdd(&d[0], 0.25);
  atomicAdd(&b[0], __floats2bfloat162_rn(1.f, -1.f));
  unsigned old = u[3], seen;
  do {
    seen = old;
    old = atomicCAS(&u[3], seen, seen + 3);
  } while (old != seen);
  __shared__ int count;
  if (threadIdx.x == 0) count = 0;
  __syncthreads();
  atomicAdd(&count, 2);
  __syncthreads();
  if (threadIdx.x == 0) atomicAdd(&i[5], count);
}

TEST(BlockTest, Atomics) {
  UnderEverySchedule([] {
    Array<int> i(6);
    Array<unsigned> u(4);
    Array<unsigned long long> l(2);
    Array<float> f(1);
    Array<double> d(1);
    Array<__nv_bfloat162> b(1, __floats2bfloat162_rn(0.f, 0.f));
    Atomics<<<2, 96>>>(i.get(), u.get(), l.get(), f.get(), d.get(), b.get());
    EXPECT_EQ(i.Read(), (std::vector<int>{191 * 96, 191, -191, 0, 0xffff, 384}));
    EXPECT_EQ(u.Read(), (std::vector<unsigned>{2, 8, 5, 576}));
    EXPECT_EQ(l.Read(), (std::vector<unsigned long long>{192ull << 33, 191ull << 32}));
    EXPECT_EQ(f.Read()[0], 96.f);
    EXPECT_EQ(d.Read()[0], 48.0);
    EXPECT_EQ(float(b.Read()[0].x), 192.f);
    EXPECT_EQ(float(b.Read()[0].y), -192.f);
  });
}

__global__ void Barriers(int* out) {
  __shared__ int a[128];
  int t = threadIdx.x, warp = t / 32;
  int count = __syncthreads_count(t % 3 == 0), all = __syncthreads_and(t < 128),
      any = __syncthreads_or(t == 77);
  a[t] = t;
  // Warps 0 and 1 meet at barrier 1, warps 2 and 3 at barrier 2.
  asm volatile("bar.sync %0, 64;" ::"r"(1 + warp / 2) : "memory");
  int partner = a[t ^ 32];
  // Warps 2 and 3 announce, warps 0 and 1 wait for them.
  if (warp >= 2)
    asm volatile("bar.arrive 3, 128;" ::: "memory");
  else
    asm volatile("bar.sync 3, 128;" ::: "memory");
  int far = warp < 2 ? a[t + 64] : 0;
  out[t] = count + 1000 * (all + 2 * any) + 10000 * partner + 10000000 * (far != 0);
}

TEST(BlockTest, NamedBarriersAndReductions) {
  UnderEverySchedule([] {
    Array<int> out(128);
    Barriers<<<1, 128>>>(out.get());
    std::vector<int> got = out.Read();
    for (int t = 0; t < 128; ++t)
      EXPECT_EQ(got[t], 43 + 3000 + 10000 * (t ^ 32) + (t < 64 ? 10000000 : 0)) << t;
  });
}

__global__ void AsyncCopies(const float* in, float* out, int n) {
  __shared__ alignas(16) float stage[2][128];
  int t = threadIdx.x;
  auto copy = [&](int tile) {
    int at = tile * 128 + t * 4, valid = max(0, min(n - at, 4)) * 4;
    uint32_t to = uint32_t(__cvta_generic_to_shared(&stage[tile % 2][t * 4]));
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(in + (valid != 0 ? at : 0)),
                 "r"(valid)
                 : "memory");
    asm volatile("cp.async.commit_group;" ::: "memory");
  };
  copy(0);
  for (int tile = 0; tile < 4; ++tile) {
    if (tile < 3)
      copy(tile + 1);
    else
      asm volatile("cp.async.commit_group;" ::: "memory");
    asm volatile("cp.async.wait_group 1;" ::: "memory");
    __syncthreads();
    for (int i = t; i < 128; i += 32) out[tile * 128 + i] = stage[tile % 2][127 - i];
    __syncthreads();
  }
}

TEST(BlockTest, AsyncCopiesWithZeroFill) {
  UnderEverySchedule([] {
    const int n = 410;
    std::vector<float> in(n);
    std::iota(in.begin(), in.end(), 1.f);
    Array<float> device(in), out(512);
    AsyncCopies<<<1, 32>>>(device.get(), out.get(), n);
    std::vector<float> got = out.Read();
    for (int i = 0; i < 512; ++i) {
      int from = i / 128 * 128 + 127 - i % 128;
      EXPECT_EQ(got[i], from < n ? in[from] : 0.f) << i;
    }
  });
}

__global__ void __launch_bounds__(128)
    Cub(const float* in, float* sorted, int* index, int* scan, float* sum) {
  using Sort = cub::BlockRadixSort<float, 128, 4, int>;
  using Scan = cub::BlockScan<int, 128>;
  using Sum = cub::BlockReduce<float, 128>;
  __shared__ union {
    typename Sort::TempStorage sort;
    typename Scan::TempStorage scan;
    typename Sum::TempStorage sum;
  } temp;
  float v[4];
  int id[4];
  for (int i = 0; i < 4; ++i) id[i] = threadIdx.x * 4 + i, v[i] = in[id[i]];
  Sort(temp.sort).SortDescending(v, id);
  __syncthreads();
  for (int i = 0; i < 4; ++i) sorted[threadIdx.x * 4 + i] = v[i], index[threadIdx.x * 4 + i] = id[i];
  int before;
  Scan(temp.scan).ExclusiveSum(id[0] & 3, before);
  scan[threadIdx.x] = before;
  __syncthreads();
  float total = Sum(temp.sum).Sum(v[0] + v[1] + v[2] + v[3]);
  if (threadIdx.x == 0) *sum = total;
}

TEST(BlockTest, Cub) {
  UnderEverySchedule([] {
    std::vector<float> in(512);
    for (int i = 0; i < 512; ++i) in[i] = float((i * 193) % 512) - 200;
    Array<float> device(in), sorted(512), sum(1);
    Array<int> index(512), scan(128);
    Cub<<<1, 128>>>(device.get(), sorted.get(), index.get(), scan.get(), sum.get());
    std::vector<float> got = sorted.Read();
    std::vector<int> ids = index.Read(), scanned = scan.Read();
    int before = 0;
    for (int i = 0; i < 512; ++i) {
      EXPECT_EQ(got[i], 311.f - i);
      EXPECT_EQ(in[ids[i]], got[i]);
      if (i % 4 != 0) continue;
      EXPECT_EQ(scanned[i / 4], before);
      before += ids[i] & 3;
    }
    EXPECT_EQ(sum.Read()[0], std::accumulate(in.begin(), in.end(), 0.f));
  });
}

__constant__ float table[4] = {1.f, 2.f, 4.f, 8.f};
__device__ int counter = 5;

__device__ __noinline__ int Collatz(int n) {
  int steps = 0;
  while (n != 1) n = n % 2 ? 3 * n + 1 : n / 2, ++steps;
  return steps;
}

__global__ void ControlFlow(int* out, float* looked_up) {
  int t = threadIdx.x, r;
  switch (t % 7) {
    case 0:
      r = Collatz(t + 1);
      break;
    case 1:
      r = t * 3;
      break;
    case 2:
      r = -t;
      break;
    case 3:
      r = t / 3;
      break;
    case 4:
      r = t ^ 21;
      break;
    case 5:
      r = Collatz(t);
      break;
    default:
      r = 1000;
  }
  int local[8];
  for (int i = 0; i < 8; ++i) local[i] = r + i * t;
  int sum = 0;
  for (int i = 0; i < t % 9; ++i) sum += local[(i * 3 + t) % 8];
  out[t] = sum + r + counter;
  looked_up[t] = table[t & 3];
}

int HostCollatz(int n) {
  int steps = 0;
  while (n != 1) n = n % 2 ? 3 * n + 1 : n / 2, ++steps;
  return steps;
}

TEST(BlockTest, ControlFlowFunctionsConstantsAndLocalMemory) {
  UnderEverySchedule([] {
    Array<int> out(96);
    Array<float> looked_up(96);
    float values[4];
    ASSERT_EQ(cudaMemcpyFromSymbol(values, table, sizeof(values)), cudaSuccess);
    values[1] = 2.5f;
    ASSERT_EQ(cudaMemcpyToSymbol(table, values, sizeof(values)), cudaSuccess);
    ControlFlow<<<1, 96>>>(out.get(), looked_up.get());
    std::vector<int> got = out.Read();
    std::vector<float> floats = looked_up.Read();
    for (int t = 0; t < 96; ++t) {
      int cases[] = {t % 7 == 0 ? HostCollatz(t + 1) : 0, t * 3, -t, t / 3, t ^ 21,
                     t % 7 == 5 ? HostCollatz(t) : 0,     1000};
      int r = cases[t % 7], sum = 0;
      for (int i = 0; i < t % 9; ++i) sum += r + (i * 3 + t) % 8 * t;
      EXPECT_EQ(got[t], sum + r + 5) << t;
      EXPECT_EQ(floats[t], values[t & 3]);
    }
  });
}

struct Shape {
  int rows, cols;
  short scale[5];
};

__global__ void ByValue(Shape s, int* out) {
  out[threadIdx.x] = s.rows * 100 + s.cols * 10 + s.scale[threadIdx.x % 5];
}

TEST(BlockTest, ParametersByValue) {
  Array<int> out(32);
  ByValue<<<1, 32>>>(Shape{3, 4, {1, 2, 3, 4, 5}}, out.get());
  std::vector<int> got = out.Read();
  for (int t = 0; t < 32; ++t) EXPECT_EQ(got[t], 340 + t % 5 + 1);
  EXPECT_EQ(Findings(), "");
}

// The last block to finish adds up what the others wrote.
__global__ void LastBlockSums(const int* in, int* partial, int* count, int* total) {
  __shared__ int sum;
  __shared__ bool last;
  if (threadIdx.x == 0) sum = 0;
  __syncthreads();
  atomicAdd(&sum, in[blockIdx.x * blockDim.x + threadIdx.x]);
  __syncthreads();
  if (threadIdx.x == 0) {
    partial[blockIdx.x] = sum;
    __threadfence();
    last = atomicAdd(count, 1) == int(gridDim.x) - 1;
    __threadfence();
  }
  __syncthreads();
  if (!last || threadIdx.x != 0) return;
  int all = 0;
  for (int b = 0; b < int(gridDim.x); ++b) all += partial[b];
  *total = all;
  *count = 0;
}

TEST(BlockTest, LastBlockReducesWithoutARace) {
  UnderEverySchedule([] {
    std::vector<int> in(5 * 64);
    std::iota(in.begin(), in.end(), 0);
    Array<int> device(in), partial(5), count(1), total(1);
    LastBlockSums<<<5, 64>>>(device.get(), partial.get(), count.get(), total.get());
    EXPECT_EQ(total.Read()[0], 319 * 160);
    EXPECT_EQ(count.Read()[0], 0);
  });
}

// Neighbouring threads write halves of one word, in place: no race.
__global__ void HalvesInPlace(__nv_bfloat16* x, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) x[i] = __float2bfloat16(2 * __bfloat162float(x[i]) + 1);
  __syncwarp();
  if (i < n) x[i] = __float2bfloat16(__bfloat162float(x[i]) - 1);
}

TEST(BlockTest, HalvesOfAWordAreNoRace) {
  UnderEverySchedule([] {
    Array<__nv_bfloat16> x(150, __float2bfloat16(3.f));
    HalvesInPlace<<<3, 50>>>(x.get(), 150);
    for (__nv_bfloat16 v : x.Read()) EXPECT_EQ(float(v), 6.f);
  });
}

// Fast modes give the same results, on two threads too.
TEST(BlockTest, ChecksDoNotChangeResults) {
  const ptxsim_api* sim = ptxsim_get();
  if (sim == nullptr) GTEST_SKIP() << "a GPU has no checks to turn off";
  std::vector<int> in(64 * 64);
  std::iota(in.begin(), in.end(), 0);
  for (int level : {PTXSIM_CHECKS_OFF, PTXSIM_CHECKS_BOUNDS, PTXSIM_CHECKS_FULL}) {
    for (int threads : {1, 3}) {
      sim->set_checks(level);
      sim->set_threads(threads);
      Array<int> device(in), partial(64), count(1), total(1);
      LastBlockSums<<<64, 64>>>(device.get(), partial.get(), count.get(), total.get());
      EXPECT_EQ(total.Read()[0], 4095 * 2048);
      EXPECT_EQ(Findings(), "");
    }
  }
  sim->set_threads(2);
}

}  // namespace
}  // namespace ptxsim_test
