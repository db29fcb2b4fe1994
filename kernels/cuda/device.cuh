// What several CUDA kernels share: bf16 in registers, sums over warps and blocks in a fixed order, tiles in
// shared memory, and the launch. Blocks have whole warps and one dimension. Functions over a warp are called
// by all of its lanes together, those over a block by all of its threads.
#ifndef HYDRAD_KERNELS_CUDA_DEVICE_CUH_
#define HYDRAD_KERNELS_CUDA_DEVICE_CUH_

#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>

#include "kernels/cuda/ptx.cuh"
#include "kernels/types.h"

namespace hydrad::cuda {

inline constexpr unsigned kAllLanes = 0xffffffffu;

// To f32, which is exact, and back, rounded to nearest even. A pair is two bf16 in one register, the first in
// its lower half.
__device__ __forceinline__ float Widen(bf16 x) { return __uint_as_float(uint32_t{x.bits} << 16); }
__device__ __forceinline__ float Widen(float x) { return x; }
__device__ __forceinline__ float LowOf(uint32_t pair) { return __uint_as_float(pair << 16); }
__device__ __forceinline__ float HighOf(uint32_t pair) { return __uint_as_float(pair & 0xffff0000u); }
__device__ __forceinline__ uint32_t PackPair(float low, float high) {
  const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
  return uint32_t{__bfloat16_as_ushort(pair.y)} << 16 | __bfloat16_as_ushort(pair.x);
}
__device__ __forceinline__ void Narrow(bf16& to, float x) {
  to.bits = __bfloat16_as_ushort(__float2bfloat16_rn(x));
}
__device__ __forceinline__ void Narrow(float& to, float x) { to = x; }

// Eight consecutive elements, aligned to 16 bytes.
__device__ __forceinline__ void Load8(float (&to)[8], const bf16* from) {
  const uint4 v = *reinterpret_cast<const uint4*>(from);
  to[0] = LowOf(v.x), to[1] = HighOf(v.x), to[2] = LowOf(v.y), to[3] = HighOf(v.y);
  to[4] = LowOf(v.z), to[5] = HighOf(v.z), to[6] = LowOf(v.w), to[7] = HighOf(v.w);
}
__device__ __forceinline__ void Load8(float (&to)[8], const float* from) {
  const float4 a = reinterpret_cast<const float4*>(from)[0], b = reinterpret_cast<const float4*>(from)[1];
  to[0] = a.x, to[1] = a.y, to[2] = a.z, to[3] = a.w, to[4] = b.x, to[5] = b.y, to[6] = b.z, to[7] = b.w;
}
__device__ __forceinline__ void Store8(bf16* to, const float (&x)[8]) {
  *reinterpret_cast<uint4*>(to) =
      make_uint4(PackPair(x[0], x[1]), PackPair(x[2], x[3]), PackPair(x[4], x[5]), PackPair(x[6], x[7]));
}
__device__ __forceinline__ void Store8(float* to, const float (&x)[8]) {
  reinterpret_cast<float4*>(to)[0] = make_float4(x[0], x[1], x[2], x[3]);
  reinterpret_cast<float4*>(to)[1] = make_float4(x[4], x[5], x[6], x[7]);
}

// Four, aligned to their size.
__device__ __forceinline__ void Load4(float (&to)[4], const bf16* from) {
  const uint2 v = *reinterpret_cast<const uint2*>(from);
  to[0] = LowOf(v.x), to[1] = HighOf(v.x), to[2] = LowOf(v.y), to[3] = HighOf(v.y);
}
__device__ __forceinline__ void Load4(float (&to)[4], const float* from) {
  const float4 v = *reinterpret_cast<const float4*>(from);
  to[0] = v.x, to[1] = v.y, to[2] = v.z, to[3] = v.w;
}
__device__ __forceinline__ void Store4(bf16* to, const float (&x)[4]) {
  *reinterpret_cast<uint2*>(to) = make_uint2(PackPair(x[0], x[1]), PackPair(x[2], x[3]));
}
__device__ __forceinline__ void Store4(float* to, const float (&x)[4]) {
  *reinterpret_cast<float4*>(to) = make_float4(x[0], x[1], x[2], x[3]);
}

__host__ __device__ __forceinline__ bool Aligned16(const void* p) {
  return reinterpret_cast<uintptr_t>(p) % 16 == 0;
}
// Whether every row of m begins at 16 bytes.
template <class T>
__host__ __device__ __forceinline__ bool RowsAligned16(const Mat<T>& m) {
  return Aligned16(m.data) && m.stride * sizeof(T) % 16 == 0;
}

// Returns the sum, or the maximum, over a warp to every lane: the same bits, summed by a tree that begins
// with pairs of neighbours.
template <class T>
__device__ __forceinline__ T WarpSum(T x) {
#pragma unroll
  for (int step = 1; step < 32; step *= 2) x += __shfl_xor_sync(kAllLanes, x, step);
  return x;
}
__device__ __forceinline__ float WarpMax(float x) {
#pragma unroll
  for (int step = 1; step < 32; step *= 2) x = fmaxf(x, __shfl_xor_sync(kAllLanes, x, step));
  return x;
}

// Returns the sum over a block to every thread: the warps' sums in ascending order. `parts` is shared memory
// of 32 elements that nobody else uses until the next barrier after this.
template <class T>
__device__ __forceinline__ T BlockSum(T x, T* parts) {
  x = WarpSum(x);
  if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = x;
  __syncthreads();
  T sum = parts[0];
  for (unsigned w = 1; w < blockDim.x / 32; ++w) sum += parts[w];
  return sum;
}

__host__ __device__ constexpr int CeilDiv(int a, int b) { return (a + b - 1) / b; }
__host__ __device__ constexpr int RoundUp(int a, int b) { return CeilDiv(a, b) * b; }

// A small struct of the plans, in shared memory. The threads of a block read it together, a word each: every
// sector of it is asked for once, where each load by all would be repeated by every warp for every field. No
// constructor runs.
template <class T>
struct Table {
  alignas(8) std::byte memory[sizeof(T)];

  __device__ __forceinline__ const T* operator->() const { return reinterpret_cast<const T*>(memory); }
  __device__ __forceinline__ const T& operator*() const { return *operator->(); }
  // Fills the table from device memory. REQUIRES: the block has sizeof(T) / 4 threads or more; a barrier lies
  // before it, if the table has been used, and another one before its first use.
  __device__ __forceinline__ void Read(const T* from) {
    static_assert(sizeof(T) % 4 == 0 && alignof(T) >= 4);
    if (threadIdx.x >= sizeof(T) / 4) return;
    reinterpret_cast<uint32_t*>(memory)[threadIdx.x] = reinterpret_cast<const uint32_t*>(from)[threadIdx.x];
  }
};

// Returns the place of 16-byte chunk `chunk` of row `row` in a tile of rows of kChunks chunks (a multiple of
// 8). Eight consecutive rows keep one chunk in eight different bank groups, as ldmatrix wants.
template <int kChunks>
__device__ __forceinline__ int TileAt(int row, int chunk) {
  static_assert(kChunks % 8 == 0);
  return row * kChunks + (chunk ^ (row & 7));
}

// Brings 8 elements from[0..7], of which the first `count` exist, to 16 bytes of shared memory; the others
// become 0. Where `fast` the copy is asynchronous (ptx::CommitCopies, ptx::WaitCopies); `valid` is any
// address that may be read, for a copy of nothing. REQUIRES: where `fast`, from is 16-byte aligned, and count
// is at least 8 or at most 0.
__device__ __forceinline__ void Fetch8(uint4* to, const bf16* from, int count, const bf16* valid, bool fast) {
  if (fast) {
    ptx::CopyAsync16(to, count > 0 ? from : valid, count > 0);
    return;
  }
  uint32_t pair[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const uint32_t low = 2 * i < count ? from[2 * i].bits : 0,
                   high = 2 * i + 1 < count ? from[2 * i + 1].bits : 0;
    pair[i] = high << 16 | low;
  }
  *to = make_uint4(pair[0], pair[1], pair[2], pair[3]);
}

// Enqueues the kernel on `stream` with `shared` bytes of dynamic shared memory, also beyond the 48 KiB that a
// kernel gets without asking. Returns the launch's own error; one of the kernel comes with the stream.
template <class... Params, class... Args>
cudaError_t Launch(void (*kernel)(Params...), dim3 grid, unsigned threads, size_t shared, cudaStream_t stream,
                   Args... args) {
  if (shared > 48 * 1024) {
    const cudaError_t error =
        cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared));
    if (error != cudaSuccess) return error;
  }
  cudaLaunchConfig_t config{};
  config.gridDim = grid;
  config.blockDim = dim3(threads);
  config.dynamicSmemBytes = shared;
  config.stream = stream;
  return cudaLaunchKernelEx(&config, kernel, static_cast<Params>(args)...);
}

}  // namespace hydrad::cuda

#endif  // HYDRAD_KERNELS_CUDA_DEVICE_CUH_
