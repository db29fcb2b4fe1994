#include "kernels/simd/kernel_table.h"

namespace hydrad::simd {

const Table& TableFor(Isa isa) {
#if defined(__x86_64__)
  switch (isa) {
    case Isa::kAmx:
      return AmxTable();
    case Isa::kAvx512Bf16:
      return Avx512Bf16Table();
    case Isa::kAvx512:
      return Avx512Table();
    case Isa::kAvx2:
      return Avx2Table();
    case Isa::kPortable:
      return PortableTable();
  }
#endif
  (void)isa;
  return PortableTable();
}

}  // namespace hydrad::simd
