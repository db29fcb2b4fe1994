// The bf16 product over AMX tiles (real or emulated, amx_tiles.h). x is packed in blocks of 16 rows, which
// are A tiles as they lie; the panels of panels.h are B tiles as they lie. Rows that a block lacks are zero
// in x, computed and dropped.
//
// Up to 16 rows: 1 x 4 tiles of y. More: 2 x 2. Every tile of y is one chain over the k tiles, ascending, so
// a row's bits do not depend on which shape computed it. While a group of panels is computed the next one is
// prefetched, its lines taken in an order that walks kStreams parts of it round-robin: one sequential stream
// does not saturate a core's memory bandwidth, several do.
//
// An A tile is 16 rows of 32 bf16, a B tile 16 pairs of k by 16 columns (VNNI), a tile of y 16 x 16 f32: 1
// KiB each, eight registers of a tile together. TDPBF16PS rounds to nearest even, treats denormals as zero
// and raises no exception (Intel SDM vol. 2); of a k tile it sums the even and the odd k apart, then both to
// y.
//
// Threads: each needs the kernel's permission to use tiles (ARCH_REQ_XCOMP_PERM) and its own tile
// configuration, which Tiles loads when it is made and releases when it goes; see amx_tiles.h. Packing and
// panels may run on any number of threads at once, each on rows or panels of its own. Nothing is allocated.
//
// Not measured on hardware by us at this layout; the logic is tested over EmulatedTiles.
#ifndef HYDRAD_KERNELS_SIMD_AMX_KERNEL_H_
#define HYDRAD_KERNELS_SIMD_AMX_KERNEL_H_

#include "kernels/simd/amx_tiles.h"
#include "kernels/simd/kernel_table.h"
#include "kernels/simd/panels.h"
#include "kernels/simd/vec.h"

namespace hydrad::simd {

// V only moves finished tiles into y. Tiles: AmxTiles or EmulatedTiles of amx_tiles.h.
template <class V, class Tiles>
class AmxKernel {
 public:
  static constexpr int kBlock = 16;
  static constexpr int kGroup = 4;

  // As GemmKernel::Pack (gemm_kernel.h), but every block has 16 rows, of which those beyond x are zeros.
  static void Pack(void* packed, Mat<const float> x, int row_begin, int row_end) {
    const int tiles = CeilDiv(x.cols, kTileK);
    for (int begin = row_begin; begin < row_end; begin += kBlock) {
      bf16* to = static_cast<bf16*>(packed) + int64_t{begin} * tiles * kTileK;
      for (int t = 0; t < tiles; ++t) {
        for (int r = 0; r < kBlock; ++r, to += kTileK) {
          const bool have = begin + r < x.rows;
          PackLine(to, x.data + (have ? begin + r : 0) * x.stride + t * kTileK,
                   have ? MinInt(kTileK, x.cols - t * kTileK) : 0);
        }
      }
    }
  }

  // All rows of y, columns 16 * begin up to 16 * end (or n).
  static void Panels(const GemmCall& c, int begin, int end) {
    Tiles tiles;
    const int blocks = CeilDiv(c.rows, kBlock);
    for (; begin < end; begin += kGroup) {
      const int panels = MinInt(kGroup, end - begin);
      Ahead ahead(c, begin + kGroup, MinInt(kGroup, end - begin - kGroup), CeilDiv(blocks, 2));
      for (int b = 0; b < blocks; b += 2) {
        if (blocks == 1) {
          Dispatch<1>(tiles, c, b, begin, panels, ahead);
        } else {
          Dispatch<2>(tiles, c, b, begin, panels, ahead);
        }
      }
    }
  }

 private:
  [[gnu::always_inline]] static void PackLine(bf16* to, const float* from, int n) {
    for (int i = 0; i < n; ++i) to[i] = ToBf16(from[i]);
    for (int i = n; i < kTileK; ++i) to[i] = ToBf16(0);
  }

  // Hands out the lines of the next group, so many per tile step that all are asked for by the end of this
  // one.
  class Ahead {
   public:
    static constexpr int kStreams = 8;
    Ahead(const GemmCall& c, int panel, int panels, int passes)
        : base_(c.w + panel * c.panel_bytes), part_(panels > 0 ? panels * c.panel_bytes / kStreams / 64 : 0) {
      const int steps = c.tiles * passes;
      per_step_ = static_cast<int>((part_ * kStreams + steps - 1) / steps);
    }
    [[gnu::always_inline]] void Step() {
      for (int i = 0; i < per_step_ && line_ < part_; ++i) {
        PrefetchL2(base_ + (stream_ * part_ + line_) * 64);
        if (++stream_ == kStreams) stream_ = 0, ++line_;
      }
    }

   private:
    const std::byte* base_;
    int64_t part_, line_ = 0;
    int per_step_, stream_ = 0;
  };

  template <int kBlocks>
  static void Dispatch(Tiles& tiles, const GemmCall& c, int block, int panel, int panels, Ahead& ahead) {
    if constexpr (kBlocks == 1) {
      if (panels == kGroup) return Product<1, 4>(tiles, c, block, panel, ahead);
      for (int p = 0; p < panels; ++p) Product<1, 1>(tiles, c, block, panel + p, ahead);
    } else {
      const bool pair = (block + 1) * kBlock < c.rows;
      for (int p = 0; p < panels; p += 2) {
        const bool two = p + 1 < panels;
        if (pair) {
          two ? Product<2, 2>(tiles, c, block, panel + p, ahead)
              : Product<2, 1>(tiles, c, block, panel + p, ahead);
        } else {
          two ? Product<1, 2>(tiles, c, block, panel + p, ahead)
              : Product<1, 1>(tiles, c, block, panel + p, ahead);
        }
      }
    }
  }

  // R row blocks by P panels; tile r * P + p of y in register r * P + p, x in 4 and 5, weights in 6 and 7.
  template <int R, int P>
  static void Product(Tiles& tiles, const GemmCall& c, int block, int panel, Ahead& ahead) {
    const bf16* x = static_cast<const bf16*>(c.x) + int64_t{block} * kBlock * c.tiles * kTileK;
    const int64_t next_block = int64_t{kBlock} * c.tiles * kTileK;
    const std::byte* w = c.w + panel * c.panel_bytes;
    ZeroAll<0, R * P>(tiles);
    for (int t = 0; t < c.tiles; ++t, x += kBlock * kTileK, w += kTileSize) {
      tiles.template Load<4>(x);
      if constexpr (R == 2) tiles.template Load<5>(x + next_block);
      Columns<R, P, 0>(tiles, w, c.panel_bytes);
      ahead.Step();
    }
    KeepAll<R, P, 0>(tiles, c, block, panel);
  }

  template <int i, int count>
  [[gnu::always_inline]] static void ZeroAll(Tiles& tiles) {
    if constexpr (i < count) {
      tiles.template Zero<i>();
      ZeroAll<i + 1, count>(tiles);
    }
  }

  template <int R, int P, int p>
  [[gnu::always_inline]] static void Columns(Tiles& tiles, const std::byte* w, int64_t panel_bytes) {
    if constexpr (p < P) {
      constexpr int b = 6 + p % 2;
      tiles.template Load<b>(w + p * panel_bytes);
      tiles.template Multiply<p, 4, b>();
      if constexpr (R == 2) tiles.template Multiply<P + p, 5, b>();
      Columns<R, P, p + 1>(tiles, w, panel_bytes);
    }
  }

  template <int R, int P, int i>
  static void KeepAll(Tiles& tiles, const GemmCall& c, int block, int panel) {
    if constexpr (i < R * P) {
      alignas(64) float out[kBlock * kPanel];
      tiles.template Store<i>(out);
      Keep(out, c, (block + i / P) * kBlock, (panel + i % P) * kPanel);
      KeepAll<R, P, i + 1>(tiles, c, block, panel);
    }
  }

  static void Keep(const float* out, const GemmCall& c, int row, int col) {
    const int rows = MinInt(kBlock, c.rows - row), cols = MinInt(kPanel, c.n - col);
    const V bias = c.bias ? V::LoadN(c.bias + col, cols) : V::Zero();
    for (int r = 0; r < rows; ++r) {
      (V::Load(out + r * kPanel) + bias).StoreN(c.y.data + (row + r) * c.y.stride + col, cols);
    }
  }
};

template <class V, class Tiles>
constexpr GemmKernels MakeAmxKernels() {
  using K = AmxKernel<V, Tiles>;
  return {K::kBlock, K::kGroup, sizeof(bf16), &K::Pack, &K::Panels};
}

}  // namespace hydrad::simd

#endif  // HYDRAD_KERNELS_SIMD_AMX_KERNEL_H_
