// Shares a product out: first x into blocks, then the panels. Neither cut is visible in the result.
#include "kernels/gemm.h"

#include <algorithm>

#include "kernels/simd/by_isa.h"
#include "kernels/simd/kernel_table.h"
#include "kernels/simd/panels.h"
#include "kernels/simd/pool.h"

namespace hydrad::simd {
namespace {

// Packing fewer elements than this takes less time than waking a worker.
constexpr int64_t kPackAlone = 16 * 1024;
// Tasks per thread: enough for a thread that is held up to lose little, few enough to cost nothing.
constexpr int kShares = 4;

void PackX(const GemmKernels& g, Pool& pool, void* packed, Mat<const float> x) {
  const int blocks = CeilDiv(x.rows, g.block);
  if (int64_t{x.rows} * x.cols <= kPackAlone) return g.pack(packed, x, 0, x.rows);
  pool.Run(blocks, [&](int i) { g.pack(packed, x, i * g.block, std::min((i + 1) * g.block, x.rows)); });
}

}  // namespace

size_t GemmScratchBytes(WeightType, int rows, int k) {
  const int blocks = CeilDiv(std::max(rows, 1), kPanel);  // whatever the block is, its rows fit in 16s
  return size_t{4} * blocks * kPanel * CeilDiv(k, kTileK) * kTileK;
}

void Gemm(const Table& table, Pool& pool, Mat<float> y, Mat<const float> x, const PackedWeights& w,
          const float* bias, std::span<std::byte> scratch) {
  if (x.rows == 0 || w.n == 0) return;
  const GemmKernels& g = table.gemm[static_cast<int>(w.type)];
  PackX(g, pool, scratch.data(), x);
  const GemmCall call{y,   scratch.data(),       w.data, PanelBytes(w.type, w.k), x.rows,
                      w.n, CeilDiv(w.k, kTileK), bias};
  const int panels = CeilDiv(w.n, kPanel);
  const int share = CeilDiv(CeilDiv(panels, pool.threads() * kShares), g.group) * g.group;
  pool.Run(CeilDiv(panels, share),
           [&](int i) { g.panels(call, i * share, std::min((i + 1) * share, panels)); });
}

void Gemm(Pool& pool, Mat<float> y, Mat<const float> x, const PackedWeights& w, const float* bias,
          std::span<std::byte> scratch) {
  Gemm(TableFor(ActiveIsa()), pool, y, x, w, bias, scratch);
}

}  // namespace hydrad::simd
