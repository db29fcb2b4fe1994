// Weights into panels and back (the layout is told in panels.h).
#include <algorithm>
#include <cstring>

#include "kernels/gemm.h"
#include "kernels/simd/panels.h"

namespace hydrad::simd {
namespace {

void Store(bf16& to, float x) { to = ToBf16(x); }
void Store(bf16& to, bf16 x) { to = x; }
void Store(float& to, float x) { to = x; }
void Store(float& to, bf16 x) { to = ToFloat(x); }

int64_t InTile(bf16*, int n, int k) { return ((k / 2) * kPanel + n) * 2 + k % 2; }
int64_t InTile(float*, int n, int k) { return k * kPanel + n; }

// The element (n, k) of the packed matrix.
template <class P>
P& At(const PackedWeights& w, int n, int k) {
  P* tile = reinterpret_cast<P*>(w.data + n / kPanel * PanelBytes(w.type, w.k)) +
            int64_t{k / kTileK} * kPanel * kTileK;
  return tile[InTile(tile, n % kPanel, k % kTileK)];
}

template <class P, class W>
void PackOneRow(const PackedWeights& packed, int n, const W* row) {
  const int padded = CeilDiv(packed.k, kTileK) * kTileK;
  for (int k = 0; k < packed.k; ++k) Store(At<P>(packed, n, k), row[k]);
  for (int k = packed.k; k < padded; ++k) Store(At<P>(packed, n, k), 0.f);
}

template <class P>
void ZeroRow(const PackedWeights& packed, int n) {
  const int padded = CeilDiv(packed.k, kTileK) * kTileK;
  for (int k = 0; k < padded; ++k) Store(At<P>(packed, n, k), 0.f);
}

template <class P, class W>
void PackAll(const PackedWeights& packed, int n_begin, Mat<const W> w) {
  for (int r = 0; r < w.rows; ++r) PackOneRow<P>(packed, n_begin + r, w.row(r));
  const int padded = CeilDiv(packed.n, kPanel) * kPanel;
  if (n_begin + w.rows == packed.n) {
    for (int n = packed.n; n < padded; ++n) ZeroRow<P>(packed, n);
  }
}

template <class W>
void Pack(const PackedWeights& packed, int n_begin, Mat<const W> w) {
  packed.type == WeightType::kBf16 ? PackAll<bf16>(packed, n_begin, w) : PackAll<float>(packed, n_begin, w);
}

}  // namespace

size_t PackedBytes(WeightType type, int n, int k) { return CeilDiv(n, kPanel) * PanelBytes(type, k); }

void PackRows(const PackedWeights& packed, int n_begin, Mat<const bf16> w) { Pack(packed, n_begin, w); }
void PackRows(const PackedWeights& packed, int n_begin, Mat<const float> w) { Pack(packed, n_begin, w); }

void UnpackRow(const PackedWeights& packed, int n, float* row) {
  for (int k = 0; k < packed.k; ++k) {
    row[k] = packed.type == WeightType::kBf16 ? ToFloat(At<bf16>(packed, n, k)) : At<float>(packed, n, k);
  }
}

}  // namespace hydrad::simd
