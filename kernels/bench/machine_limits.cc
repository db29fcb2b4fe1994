// The probes are compiled for AVX-512 by attribute and run only where the machine has it; elsewhere 0 is
// reported.
#include "kernels/bench/machine_limits.h"

#include <ctime>

#include "kernels/simd/isa.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace hydrad::bench {
namespace {

double Now(const simd::Pool& pool) {
  timespec t;
  clock_gettime(pool.threads() == 1 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &t);
  return t.tv_sec + t.tv_nsec * 1e-9;
}

constexpr int kStreams = 8;

long Sum(const char* data, long bytes) {
  const long part = bytes / kStreams / 64 * 64;
  long sum[kStreams] = {};
  for (long i = 0; i < part; i += 64) {
    for (int s = 0; s < kStreams; ++s) {
      const long* line = reinterpret_cast<const long*>(data + s * part + i);
      __builtin_prefetch(reinterpret_cast<const char*>(line) + 2048, 0, 3);
      for (int j = 0; j < 8; ++j) sum[s] += line[j];
    }
  }
  long all = 0;
  for (long s : sum) all += s;
  return all;
}

#if defined(__x86_64__)
constexpr int kChains = 24;
constexpr int kRounds = 20000;

__attribute__((target("avx512f"))) float FmaChains() {
  __m512 acc[kChains], a = _mm512_set1_ps(1e-9f), b = _mm512_set1_ps(0.5f);
  for (__m512& x : acc) x = _mm512_setzero_ps();
  asm volatile("" : "+v"(a), "+v"(b));
  for (int i = 0; i < kRounds; ++i) {
#pragma GCC unroll 24
    for (int j = 0; j < kChains; ++j) acc[j] = _mm512_fmadd_ps(a, b, acc[j]);
  }
  __m512 sum = _mm512_setzero_ps();
  for (const __m512& x : acc) sum = _mm512_add_ps(sum, x);
  float lanes[16];
  _mm512_storeu_ps(lanes, sum);
  return lanes[3];
}

__attribute__((target("avx512f,avx512bf16"))) float DotChains() {
  __m512 acc[kChains];
  __m512i a = _mm512_set1_epi32(0x30003000), b = _mm512_set1_epi32(0x3f003f00);
  for (__m512& x : acc) x = _mm512_setzero_ps();
  asm volatile("" : "+v"(a), "+v"(b));
  for (int i = 0; i < kRounds; ++i) {
#pragma GCC unroll 24
    for (int j = 0; j < kChains; ++j) {
      acc[j] = _mm512_dpbf16_ps(acc[j], reinterpret_cast<__m512bh>(a), reinterpret_cast<__m512bh>(b));
    }
  }
  __m512 sum = _mm512_setzero_ps();
  for (const __m512& x : acc) sum = _mm512_add_ps(sum, x);
  float lanes[16];
  _mm512_storeu_ps(lanes, sum);
  return lanes[3];
}

double PerSecond(simd::Pool& pool, float (*chains)(), double flops_each) {
  const double start = Now(pool);
  pool.Run(pool.threads(), [&](int) {
    volatile float keep = chains();
    (void)keep;
  });
  return pool.threads() * flops_each * kChains * kRounds / (Now(pool) - start);
}
#endif

}  // namespace

double ReadSeconds(simd::Pool& pool, const void* data, long bytes) {
  const long part = bytes / pool.threads();
  const double start = Now(pool);
  pool.Run(pool.threads(), [&](int i) {
    volatile long keep = Sum(static_cast<const char*>(data) + i * part, part);
    (void)keep;
  });
  return Now(pool) - start;
}

double FmaFlops([[maybe_unused]] simd::Pool& pool) {
#if defined(__x86_64__)
  if (simd::Supported(simd::Isa::kAvx512)) return PerSecond(pool, &FmaChains, 32);
#endif
  return 0;
}

double DotBf16Flops([[maybe_unused]] simd::Pool& pool) {
#if defined(__x86_64__)
  if (simd::Supported(simd::Isa::kAvx512Bf16)) return PerSecond(pool, &DotChains, 64);
#endif
  return 0;
}

}  // namespace hydrad::bench
