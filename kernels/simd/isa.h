// Which instruction set the CPU kernels use.
#ifndef HYDRAD_KERNELS_SIMD_ISA_H_
#define HYDRAD_KERNELS_SIMD_ISA_H_

namespace hydrad::simd {

// Each includes the one before it.
enum class Isa { kPortable, kAvx2, kAvx512, kAvx512Bf16, kAmx };

// The best this machine and kernel allow (AMX needs the kernel's permission, asked for once), or a lesser one
// forced with HYDRAD_ISA=portable|avx2|avx512|avx512bf16|amx. Fixed at the first call.
Isa ActiveIsa();
// Returns whether this machine and kernel can run it. What is not compiled in (other processors) is not.
bool Supported(Isa isa);
// Returns the name that HYDRAD_ISA takes.
const char* Name(Isa isa);

}  // namespace hydrad::simd

#endif  // HYDRAD_KERNELS_SIMD_ISA_H_
