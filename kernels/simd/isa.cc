#include "kernels/simd/isa.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>

#if defined(__x86_64__) && defined(__linux__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace hydrad::simd {
namespace {

constexpr Isa kAll[] = {Isa::kAmx, Isa::kAvx512Bf16, Isa::kAvx512, Isa::kAvx2, Isa::kPortable};

#if defined(__x86_64__) && defined(__linux__)
// Bits of CPUID leaf 7 that GCC 12's __builtin_cpu_supports does not know.
bool HasAmxBits() {
  unsigned a, b, c, d;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return false;
  return (d >> 22 & 1) && (d >> 24 & 1);  // AMX-BF16, AMX-TILE
}

// Linux lets a process use tile data only after it asked: ARCH_REQ_XCOMP_PERM of XTILEDATA, for all threads.
bool AmxPermitted() {
  static const bool permitted = HasAmxBits() && syscall(SYS_arch_prctl, 0x1023, 18) == 0;
  return permitted;
}

bool HasAvx512() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
}
#endif

Isa Best() {
  for (Isa isa : kAll) {
    if (Supported(isa)) return isa;
  }
  return Isa::kPortable;
}

Isa Choose() {
  const char* forced = std::getenv("HYDRAD_ISA");
  if (!forced) return Best();
  for (Isa isa : kAll) {
    if (std::strcmp(forced, Name(isa)) == 0 && Supported(isa)) return isa;
  }
  std::fprintf(stderr, "HYDRAD_ISA=%s is unknown or not supported here; using %s\n", forced, Name(Best()));
  return Best();
}

}  // namespace

bool Supported(Isa isa) {
#if defined(__x86_64__) && defined(__linux__)
  switch (isa) {
    case Isa::kAmx:
      return Supported(Isa::kAvx512Bf16) && AmxPermitted();
    case Isa::kAvx512Bf16:
      return HasAvx512() && __builtin_cpu_supports("avx512bf16");
    case Isa::kAvx512:
      return HasAvx512();
    case Isa::kAvx2:
      return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    case Isa::kPortable:
      return true;
  }
#endif
  return isa == Isa::kPortable;
}

const char* Name(Isa isa) {
  switch (isa) {
    case Isa::kPortable:
      return "portable";
    case Isa::kAvx2:
      return "avx2";
    case Isa::kAvx512:
      return "avx512";
    case Isa::kAvx512Bf16:
      return "avx512bf16";
    case Isa::kAmx:
      return "amx";
  }
  return "unknown";
}

Isa ActiveIsa() {
  static const Isa isa = Choose();
  return isa;
}

}  // namespace hydrad::simd
