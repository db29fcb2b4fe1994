// What this machine can do at best, measured in the same process and moments as the kernels it is compared
// with.
#ifndef HYDRAD_KERNELS_BENCH_MACHINE_LIMITS_H_
#define HYDRAD_KERNELS_BENCH_MACHINE_LIMITS_H_

#include "kernels/simd/pool.h"

namespace hydrad::bench {

// Seconds that reading `bytes` once takes on all threads of the pool, from memory that no cache holds: 8
// sequential streams a thread, prefetched ahead.
double ReadSeconds(simd::Pool& pool, const void* data, long bytes);

// Multiply-adds per second (one counts two FLOP) of chains that never leave the registers, on all threads:
// f32 FMA, and vdpbf16ps; 0 where the machine lacks the instruction.
double FmaFlops(simd::Pool& pool);
double DotBf16Flops(simd::Pool& pool);

}  // namespace hydrad::bench

#endif  // HYDRAD_KERNELS_BENCH_MACHINE_LIMITS_H_
