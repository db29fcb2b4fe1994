// Built with -mavx512f -mavx512bw -mavx512dq -mavx512vl.
#include "kernels/simd/make_table.h"
#include "kernels/simd/vec_avx512.h"

namespace hydrad::simd {
namespace {
struct Plain;
}

const Table& Avx512Table() {
  using V = VecAvx512<Plain>;
  static constexpr Table table =
      MakeTable<V, 4, 4, 4>(MakeGemmKernels<PairFma<V>, 8, 24>(), MakeGemmKernels<FloatFma<V>, 8, 24>());
  return table;
}

}  // namespace hydrad::simd
