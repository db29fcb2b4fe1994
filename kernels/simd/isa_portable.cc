// Built with the base flags of the target.
#include "kernels/simd/make_table.h"
#include "kernels/simd/vec_portable.h"

namespace hydrad::simd {

const Table& PortableTable() {
  static constexpr Table table = MakeTable<VecPortable, 1, 4, 1>(
      MakeGemmKernels<PairFma<VecPortable>, 2, 2>(), MakeGemmKernels<FloatFma<VecPortable>, 2, 2>());
  return table;
}

}  // namespace hydrad::simd
