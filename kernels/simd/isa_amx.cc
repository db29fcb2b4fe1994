// Built as isa_avx512bf16.cc: everything but the bf16 product is that of AVX-512. The assembler must know
// AMX.
#include "kernels/simd/amx_kernel.h"
#include "kernels/simd/make_table.h"
#include "kernels/simd/vec_avx512.h"

namespace hydrad::simd {
namespace {
struct AmxTag;
}

const Table& AmxTable() {
  using V = VecAvx512<AmxTag>;
  static constexpr Table table =
      MakeTable<V, 4, 4, 4>(MakeAmxKernels<V, AmxTiles>(), MakeGemmKernels<FloatFma<V>, 8, 24>());
  return table;
}

}  // namespace hydrad::simd
