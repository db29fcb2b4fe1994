// The layout of packed weights: one for every instruction set and every number of rows.
//
// W [n, k] is cut into panels of 16 rows of W (16 columns of y); a panel is contiguous over k, in tiles of 32
// k (k and n are padded with zeros up to whole tiles). Inside a tile
//   bf16: 16 pairs of k, each 16 n x 2 k = 64 bytes:  element (n, k) at ((k/2) * 16 + n) * 2 + k % 2
//   f32:  32 k, each 16 n = 64 bytes:                 element (n, k) at k * 16 + n
// so one 64-byte load feeds vdpbf16ps (or a widened pair of FMAs), and a bf16 tile is one AMX B tile (VNNI
// order, Intel architecture manual, TDPBF16PS).
#ifndef HYDRAD_KERNELS_SIMD_PANELS_H_
#define HYDRAD_KERNELS_SIMD_PANELS_H_

#include <cstddef>
#include <cstdint>

#include "kernels/gemm.h"

namespace hydrad::simd {

constexpr int kPanel = 16;  // columns of y in a panel
constexpr int kTileK = 32;  // k in a tile

[[gnu::always_inline]] inline int CeilDiv(int a, int b) { return (a + b - 1) / b; }
[[gnu::always_inline]] inline int64_t ElementSize(WeightType type) {
  return type == WeightType::kBf16 ? 2 : 4;
}
[[gnu::always_inline]] inline int64_t TileBytes(WeightType type) {
  return kPanel * kTileK * ElementSize(type);
}
[[gnu::always_inline]] inline int64_t PanelBytes(WeightType type, int k) {
  return CeilDiv(k, kTileK) * TileBytes(type);
}

}  // namespace hydrad::simd

#endif  // HYDRAD_KERNELS_SIMD_PANELS_H_
