// Built with -mavx2 -mfma. 16 registers of 8 floats: 12 of them accumulate 6 rows of one panel.
#include "kernels/simd/make_table.h"
#include "kernels/simd/vec_avx2.h"

namespace hydrad::simd {

const Table& Avx2Table() {
  static constexpr Table table = MakeTable<VecAvx2, 2, 2, 2>(MakeGemmKernels<PairFma<VecAvx2>, 4, 4>(),
                                                             MakeGemmKernels<FloatFma<VecAvx2>, 6, 6>());
  return table;
}

}  // namespace hydrad::simd
