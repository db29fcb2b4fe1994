// Shuffles, votes, reductions and tensor instructions, each against a plain loop on the host.
#include <cooperative_groups.h>
#include <cooperative_groups/reduce.h>
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cmath>
#include <random>

#include "test_util.h"

namespace cg = cooperative_groups;

namespace ptxsim_test {
namespace {

constexpr unsigned kAll = 0xffffffffu;

__global__ void Shuffles(const int* in, int* out) {
  int lane = threadIdx.x, v = in[lane];
  out[lane] = __shfl_sync(kAll, v, (lane * 7) & 31);
  out[32 + lane] = __shfl_up_sync(kAll, v, 3);
  out[64 + lane] = __shfl_down_sync(kAll, v, 5, 16);
  out[96 + lane] = __shfl_xor_sync(kAll, v, 9);
  out[128 + lane] = __shfl_sync(kAll, v, 2, 8);
  out[160 + lane] = __shfl_up_sync(kAll, v, 1, 4);
  if (lane < 20) out[192 + lane] = __shfl_sync(0xfffff, v, 19 - lane);
}

TEST(WarpTest, Shuffles) {
  std::vector<int> in(32);
  for (int l = 0; l < 32; ++l) in[l] = 100 + l * l;
  Array<int> device(in), out(224);
  Shuffles<<<1, 32>>>(device.get(), out.get());
  std::vector<int> got = out.Read();
  for (int l = 0; l < 32; ++l) {
    EXPECT_EQ(got[l], in[(l * 7) & 31]);
    EXPECT_EQ(got[32 + l], in[l < 3 ? l : l - 3]);
    EXPECT_EQ(got[64 + l], in[l % 16 + 5 < 16 ? l + 5 : l]);
    EXPECT_EQ(got[96 + l], in[l ^ 9]);
    EXPECT_EQ(got[128 + l], in[l / 8 * 8 + 2]);
    EXPECT_EQ(got[160 + l], in[l % 4 == 0 ? l : l - 1]);
    if (l < 20) EXPECT_EQ(got[192 + l], in[19 - l]);
  }
  EXPECT_EQ(Findings(), "");
}

__global__ void Votes(const int* in, unsigned* out) {
  int lane = threadIdx.x, v = in[lane];
  unsigned* o = out + lane * 10;
  o[0] = __ballot_sync(kAll, v & 1);
  o[1] = __any_sync(kAll, v > 90);
  o[2] = __all_sync(kAll, v >= 0);
  o[3] = __match_any_sync(kAll, v % 5);
  int same;
  o[4] = __match_all_sync(kAll, v / 1000, &same) + same;
  o[5] = __reduce_add_sync(kAll, unsigned(v));
  o[6] = unsigned(__reduce_max_sync(kAll, v - 50));
  o[7] = unsigned(__reduce_min_sync(kAll, v - 50));
  o[8] = __reduce_xor_sync(kAll, unsigned(v));
  o[9] = 0;
  if (v & 1) {
    o[9] = __activemask();
  } else {
    o[9] = ~__activemask();
  }
}

TEST(WarpTest, VotesAndReductions) {
  std::vector<int> in(32);
  unsigned odd = 0, sum = 0, all_xor = 0;
  for (int l = 0; l < 32; ++l) {
    in[l] = (l * 37 + 11) % 97;
    odd |= unsigned(in[l] & 1) << l;
    sum += in[l], all_xor ^= in[l];
  }
  Array<int> device(in);
  Array<unsigned> out(320);
  Votes<<<1, 32>>>(device.get(), out.get());
  std::vector<unsigned> got = out.Read();
  for (int l = 0; l < 32; ++l) {
    unsigned same = 0;
    for (int o = 0; o < 32; ++o) same |= unsigned(in[o] % 5 == in[l] % 5) << o;
    const unsigned* g = &got[l * 10];
    EXPECT_EQ(g[0], odd);
    EXPECT_EQ(g[1], unsigned(*std::max_element(in.begin(), in.end()) > 90));
    EXPECT_EQ(g[2], 1u);
    EXPECT_EQ(g[3], same);
    EXPECT_EQ(g[4], kAll + 1);
    EXPECT_EQ(g[5], sum);
    EXPECT_EQ(int(g[6]), *std::max_element(in.begin(), in.end()) - 50);
    EXPECT_EQ(int(g[7]), *std::min_element(in.begin(), in.end()) - 50);
    EXPECT_EQ(g[8], all_xor);
    EXPECT_EQ(g[9], odd);
  }
  EXPECT_EQ(Findings(), "");
}

__global__ void Groups(const float* in, float* out) {
  auto warp = cg::tiled_partition<32>(cg::this_thread_block());
  auto eight = cg::tiled_partition<8>(warp);
  float v = in[threadIdx.x];
  out[threadIdx.x] = cg::reduce(warp, v, cg::greater<float>());
  out[64 + threadIdx.x] = cg::reduce(eight, v, cg::plus<float>());
  if (threadIdx.x % 3 == 0) {
    auto some = cg::coalesced_threads();
    out[128 + threadIdx.x] = float(some.size()) + 100 * some.thread_rank();
  }
}

TEST(WarpTest, CooperativeGroups) {
  std::vector<float> in(64);
  for (int i = 0; i < 64; ++i) in[i] = float((i * 29) % 61);
  Array<float> device(in), out(192);
  Groups<<<1, 64>>>(device.get(), out.get());
  std::vector<float> got = out.Read();
  for (int i = 0; i < 64; ++i) {
    float sum = 0;
    for (int j = i / 8 * 8; j < i / 8 * 8 + 8; ++j) sum += in[j];
    EXPECT_EQ(got[i], *std::max_element(in.begin() + i / 32 * 32, in.begin() + i / 32 * 32 + 32));
    EXPECT_EQ(got[64 + i], sum);
    int before = 0, size = 0;
    for (int j = i / 32 * 32; j < i / 32 * 32 + 32; ++j) size += j % 3 == 0, before += j % 3 == 0 && j < i;
    if (i % 3 == 0) EXPECT_EQ(got[128 + i], float(size) + 100 * before);
  }
  EXPECT_EQ(Findings(), "");
}

// ---- tensor instructions: C = A B for a 16 x K tile (row major) and a K x 8 tile given as its transpose
// [8][K].

template <class T>
__device__ uint32_t PairOf(T a, T b) {
  uint16_t lo, hi;
  memcpy(&lo, &a, 2), memcpy(&hi, &b, 2);
  return lo | uint32_t(hi) << 16;
}

// Fragments by the layout of the PTX ISA, one element at a time.
template <class T, int K>
__global__ void MmaByElement(const T* a, const T* bt, float* c) {
  int lane = threadIdx.x, g = lane / 4, t = lane % 4;
  uint32_t fa[K / 4], fb[K / 8];
  for (int i = 0; i < K / 4; ++i) {
    const T* p = a + (g + 8 * (i & 1)) * K + 2 * t + 8 * (i >> 1);
    fa[i] = PairOf(p[0], p[1]);
  }
  for (int i = 0; i < K / 8; ++i) fb[i] = PairOf(bt[g * K + 2 * t + 8 * i], bt[g * K + 2 * t + 8 * i + 1]);
  float d[4];
  for (int i = 0; i < 4; ++i) d[i] = c[(g + 8 * (i >> 1)) * 8 + 2 * t + (i & 1)];
  if constexpr (K == 16 && std::is_same_v<T, __nv_bfloat16>) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
        "{%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(fa[0]), "r"(fa[1]), "r"(fa[2]), "r"(fa[3]), "r"(fb[0]), "r"(fb[1]));
  } else if constexpr (K == 16) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
        "{%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(fa[0]), "r"(fa[1]), "r"(fa[2]), "r"(fa[3]), "r"(fb[0]), "r"(fb[1]));
  } else {
    asm("mma.sync.aligned.m16n8k8.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5}, {%6}, {%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(fa[0]), "r"(fa[1]), "r"(fb[0]));
  }
  for (int i = 0; i < 4; ++i) c[(g + 8 * (i >> 1)) * 8 + 2 * t + (i & 1)] = d[i];
}

// The same product with fragments from ldmatrix: A by its rows, B once from its transpose and once (.trans)
// as it is.
__global__ void MmaByLdmatrix(const __nv_bfloat16* a, const __nv_bfloat16* bt, float* c, bool transposed) {
  __shared__ alignas(16) __nv_bfloat16 sa[16 * 16], sb[16 * 8];
  int lane = threadIdx.x;
  for (int i = lane; i < 256; i += 32) sa[i] = a[i];
  for (int i = lane; i < 128; i += 32) sb[i] = transposed ? bt[(i % 8) * 16 + i / 8] : bt[i];
  __syncthreads();
  uint32_t fa[4], fb[2], row_a = uint32_t(__cvta_generic_to_shared(&sa[(lane % 16) * 16 + lane / 16 * 8]));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(fa[0]), "=r"(fa[1]), "=r"(fa[2]), "=r"(fa[3])
               : "r"(row_a));
  if (transposed) {
    uint32_t row = uint32_t(__cvta_generic_to_shared(&sb[(lane % 16) * 8]));
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0,%1}, [%2];"
                 : "=r"(fb[0]), "=r"(fb[1])
                 : "r"(row));
  } else {
    uint32_t row = uint32_t(__cvta_generic_to_shared(&sb[(lane % 8) * 16 + lane / 8 % 2 * 8]));
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0,%1}, [%2];"
                 : "=r"(fb[0]), "=r"(fb[1])
                 : "r"(row));
  }
  float d[4] = {};
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(fa[0]), "r"(fa[1]), "r"(fa[2]), "r"(fa[3]), "r"(fb[0]), "r"(fb[1]));
  for (int i = 0; i < 4; ++i) c[(lane / 4 + 8 * (i >> 1)) * 8 + 2 * (lane % 4) + (i & 1)] += d[i];
}

struct Tiles {
  std::vector<float> a, bt, c;  // [16, k], [8, k], [16, 8]
};

Tiles RandomTiles(int k) {
  std::mt19937 random(3);
  std::uniform_int_distribution<int> u(-8, 8);  // small integers: every sum is exact in any order
  Tiles t{std::vector<float>(16 * k), std::vector<float>(8 * k), std::vector<float>(128)};
  for (auto* v : {&t.a, &t.bt, &t.c}) {
    for (float& f : *v) f = float(u(random));
  }
  return t;
}

void ExpectProduct(const Tiles& t, int k, const std::vector<float>& got) {
  for (int i = 0; i < 16; ++i) {
    for (int j = 0; j < 8; ++j) {
      float want = t.c[i * 8 + j];
      for (int q = 0; q < k; ++q) want += t.a[i * k + q] * t.bt[j * k + q];
      EXPECT_EQ(got[i * 8 + j], want) << i << ", " << j;
    }
  }
}

template <class T>
std::vector<T> As(const std::vector<float>& v) {
  return std::vector<T>(v.begin(), v.end());
}

template <class T, int K>
void TestMma() {
  Tiles t = RandomTiles(K);
  Array<T> a(As<T>(t.a)), bt(As<T>(t.bt));
  Array<float> c(t.c);
  MmaByElement<T, K><<<1, 32>>>(a.get(), bt.get(), c.get());
  ExpectProduct(t, K, c.Read());
  EXPECT_EQ(Findings(), "");
}

TEST(TensorTest, Mma) {
  TestMma<__nv_bfloat16, 16>();
  TestMma<__half, 16>();
  TestMma<__nv_bfloat16, 8>();
}

TEST(TensorTest, Ldmatrix) {
  Tiles t = RandomTiles(16);
  Array<__nv_bfloat16> a(As<__nv_bfloat16>(t.a)), bt(As<__nv_bfloat16>(t.bt));
  for (bool transposed : {false, true}) {
    Array<float> c(t.c);
    MmaByLdmatrix<<<1, 32>>>(a.get(), bt.get(), c.get(), transposed);
    ExpectProduct(t, 16, c.Read());
  }
  EXPECT_EQ(Findings(), "");
}

}  // namespace
}  // namespace ptxsim_test
