// Built with -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512bf16.
#include "kernels/simd/make_table.h"
#include "kernels/simd/vec_avx512.h"

namespace hydrad::simd {
namespace {

struct Bf16Tag;

// vdpbf16ps: one 64-byte line of weights is 16 columns x 2 k. The sum runs over pairs of k; denormals count
// as 0.
struct PairDot {
  using V = VecAvx512<Bf16Tag>;
  using X = bf16;
  static constexpr int kSteps = kTileK / 2;

  [[gnu::always_inline]] static void Put(bf16* to, float x) { *to = ToBf16(x); }

  template <int R, int P>
  [[gnu::always_inline]] static void Step(V (&acc)[R][P], const bf16* x, const std::byte* w,
                                          int64_t panel_bytes, int s) {
    __m512bh line[P];
#pragma GCC unroll 8
    for (int p = 0; p < P; ++p) {
      line[p] = reinterpret_cast<__m512bh>(_mm512_loadu_si512(w + p * panel_bytes + s * 64));
    }
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      int pair;
      __builtin_memcpy(&pair, x + r * kTileK + 2 * s, sizeof pair);
      const __m512bh a = reinterpret_cast<__m512bh>(_mm512_set1_epi32(pair));
#pragma GCC unroll 8
      for (int p = 0; p < P; ++p) acc[r][p].v = _mm512_dpbf16_ps(acc[r][p].v, line[p], a);
    }
  }
};

}  // namespace

const Table& Avx512Bf16Table() {
  using V = PairDot::V;
  static constexpr Table table =
      MakeTable<V, 4, 4, 4>(MakeGemmKernels<PairDot, 8, 24>(), MakeGemmKernels<FloatFma<V>, 8, 24>());
  return table;
}

}  // namespace hydrad::simd
