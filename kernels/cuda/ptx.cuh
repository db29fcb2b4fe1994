// All inline PTX of the CUDA kernels. Layouts and constraints are those of NVIDIA's PTX ISA, sm_80 and later.
#ifndef HYDRAD_KERNELS_CUDA_PTX_CUH_
#define HYDRAD_KERNELS_CUDA_PTX_CUH_

#include <cstdint>

namespace hydrad::cuda::ptx {

__device__ __forceinline__ uint32_t SharedAddress(const void* p) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(p));
}

// Copies 16 bytes from global to shared memory in the background, or writes 16 zero bytes if `valid` is
// false; `from` is then not read but must be a valid pointer. Both 16-byte aligned.
__device__ __forceinline__ void CopyAsync16(void* to, const void* from, bool valid) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;\n" ::"r"(SharedAddress(to)), "l"(from),
               "r"(valid ? 16 : 0)
               : "memory");
}
// Closes the group of copies begun since the last call.
__device__ __forceinline__ void CommitCopies() { asm volatile("cp.async.commit_group;\n" ::: "memory"); }
// Waits until at most the `kPending` youngest groups of this thread are under way.
template <int kPending>
__device__ __forceinline__ void WaitCopies() {
  asm volatile("cp.async.wait_group %0;\n" ::"n"(kPending) : "memory");
}

// Two floats in one store to shared memory, aligned to 8 bytes: nvcc makes two of a float2 now and then.
__device__ __forceinline__ void StorePair(float* to, float first, float second) {
  asm volatile("st.shared.v2.f32 [%0], {%1,%2};\n" ::"r"(SharedAddress(to)), "f"(first), "f"(second)
               : "memory");
}

// Four 8x8 matrices of bf16; lane l gives the address of row l % 8 of matrix l / 8 and gets of every matrix
// the elements 2 * (l % 4), + 1 of row l / 4.
__device__ __forceinline__ void LoadMatrix4(uint32_t (&to)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];\n"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(SharedAddress(row))
               : "memory");
}
// The same of the transposed matrices: elements of column l / 4 in rows 2 * (l % 4), + 1.
__device__ __forceinline__ void LoadMatrix4Transposed(uint32_t (&to)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];\n"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(SharedAddress(row))
               : "memory");
}

// c [16, 8] += a [16, 16] b [16, 8]. With g = lane / 4 and t = lane % 4: a holds (g, 2t), (g + 8, 2t),
// (g, 2t + 8), (g + 8, 2t + 8) and the element after each; b holds (2t, g), (2t + 8, g) and the element below
// each; c holds (g, 2t), (g, 2t + 1), (g + 8, 2t), (g + 8, 2t + 1).
__device__ __forceinline__ void MultiplyAdd(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%0,%1,%2,%3};\n"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

}  // namespace hydrad::cuda::ptx

#endif  // HYDRAD_KERNELS_CUDA_PTX_CUH_
