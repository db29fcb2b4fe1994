// The product over packed panels, for one vector type and one way (Op) to multiply a 64-byte line of weights.
//
// A register block is R rows by P panels: R * P accumulators. Rows beyond kBlock go block by block over the
// same panels, with k cut into pieces whose weights stay in the first-level cache; an accumulator that waits
// for its next piece waits in y, exactly as it was, so that the cutting leaves no trace in the sum: it runs
// over k, ascending, in one chain per element, then adds the bias.
//
// x and its packed form are laid out as kernel_table.h says (GemmCall), weights as panels.h; both begin at 64
// bytes; rows of y (f32) may begin anywhere. Nothing is allocated and nothing can fail. Any number of threads
// may call at once, each for panels (or, packing, rows) of its own.
#ifndef HYDRAD_KERNELS_SIMD_GEMM_KERNEL_H_
#define HYDRAD_KERNELS_SIMD_GEMM_KERNEL_H_

#include "kernels/simd/kernel_table.h"
#include "kernels/simd/panels.h"
#include "kernels/simd/vec.h"

namespace hydrad::simd {

// An Op says how a tile of 32 k is multiplied, and is a class with these members:
//   V       the vector type (vec.h): the 16 columns of a panel
//   X       the element of packed x
//   kSteps  lines of 64 bytes that a tile has in each panel
//   Put     writes an element of x as packed x has it, rounded as the weights ask
//   Step    adds the products of line `s` to acc[R rows][P panels]. The line stands in each of P panels,
//           `panel_bytes` apart from `w`, which is where the tile begins; the rows of x are [R, 32] at `x`.
// An element of acc only ever meets its own row and column, so R and P change no sum.

// The Op of bf16 weights where the instruction set has no product of bf16. A line has 16 columns of two
// neighbouring k; it is widened to floats and added by two FMAs, first the even k, then the odd one. x is
// rounded to bf16 and kept as floats.
template <class Vec>
struct PairFma {
  using V = Vec;
  using X = float;
  static constexpr int kSteps = kTileK / 2;

  [[gnu::always_inline]] static void Put(float* to, float x) { *to = ToFloat(ToBf16(x)); }

  template <int R, int P>
  [[gnu::always_inline]] static void Step(V (&acc)[R][P], const X* x, const std::byte* w, int64_t panel_bytes,
                                          int s) {
    V even[P], odd[P];
#pragma GCC unroll 8
    for (int p = 0; p < P; ++p) V::WidenPairs(w + p * panel_bytes + s * 64, even[p], odd[p]);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      const V a = V::Set1(x[r * kTileK + 2 * s]), b = V::Set1(x[r * kTileK + 2 * s + 1]);
#pragma GCC unroll 8
      for (int p = 0; p < P; ++p) acc[r][p] = V::Fma(odd[p], b, V::Fma(even[p], a, acc[r][p]));
    }
  }
};

// The Op of f32 weights: a line has 16 columns of one k, which is one FMA. x is not rounded.
template <class Vec>
struct FloatFma {
  using V = Vec;
  using X = float;
  static constexpr int kSteps = kTileK;

  [[gnu::always_inline]] static void Put(float* to, float x) { *to = x; }

  template <int R, int P>
  [[gnu::always_inline]] static void Step(V (&acc)[R][P], const X* x, const std::byte* w, int64_t panel_bytes,
                                          int s) {
    V line[P];
#pragma GCC unroll 8
    for (int p = 0; p < P; ++p) {
      line[p] = V::Load(reinterpret_cast<const float*>(w + p * panel_bytes + s * 64));
    }
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      const V a = V::Set1(x[r * kTileK + s]);
#pragma GCC unroll 8
      for (int p = 0; p < P; ++p) acc[r][p] = V::Fma(line[p], a, acc[r][p]);
    }
  }
};

// The two functions that GemmKernels points to, of one Op. kBlock is the number of rows in a block of packed
// x, and the most that a register block has; kAccumulators is how many accumulators a register block may have
// at once, so that they and the lines that are loaded fit into the registers.
template <class Op, int kBlock, int kAccumulators>
class GemmKernel {
 public:
  static constexpr int kGroup = kAccumulators / kBlock;  // panels of a full block

  // Writes the rows [row_begin, row_end) of x to their places in `packed`, with zeros behind the last k up to
  // the end of its tile. Calls for other rows may run at the same time.
  // REQUIRES: row_begin is a multiple of kBlock, and so is row_end, unless it is x.rows.
  static void Pack(void* packed, Mat<const float> x, int row_begin, int row_end) {
    const int tiles = CeilDiv(x.cols, kTileK);
    for (int begin = row_begin; begin < row_end; begin += kBlock) {
      const int rows = MinInt(kBlock, x.rows - begin);
      X* block = static_cast<X*>(packed) + int64_t{begin} * tiles * kTileK;
      for (int r = 0; r < rows; ++r)
        PackRow(block + r * kTileK, x.data + (begin + r) * x.stride, x.cols, rows);
    }
  }

  // Writes all rows of y in the columns 16 * begin up to 16 * end, or n if that is less. Calls for other
  // panels may run at the same time. REQUIRES: x is packed.
  static void Panels(const GemmCall& c, int begin, int end) {
    if (c.rows > kBlock) {
      ForGroups<kBlock>(c, begin, end);
    } else {
      FewRows<1>(c, begin, end);
    }
  }

 private:
  using V = typename Op::V;
  using X = typename Op::X;
  static constexpr int kTile = Op::kSteps * 64;  // bytes of weights in a tile

  // Panels side by side in a register block of R rows. There are more when rows are few: more streams from
  // memory, more independent sums.
  template <int R>
  static constexpr int Wide() {
    constexpr int p = kAccumulators / R;
    return p > 8 ? 8 : p < 1 ? 1 : p;
  }

  static void PackRow(X* to, const float* from, int cols, int rows) {
    for (int k = 0; k < cols; k += kTileK, to += rows * kTileK) {
      const int n = MinInt(kTileK, cols - k);
      for (int i = 0; i < n; ++i) Op::Put(to + i, from[k + i]);
      for (int i = n; i < kTileK; ++i) Op::Put(to + i, 0);
    }
  }

  template <int R>
  static void FewRows(const GemmCall& c, int begin, int end) {
    if constexpr (R <= kBlock) {
      c.rows == R ? ForGroups<R>(c, begin, end) : FewRows<R + 1>(c, begin, end);
    }
  }

  template <int R>
  static void ForGroups(const GemmCall& c, int begin, int end) {
    constexpr int P = Wide<R>();
    for (; begin + P <= end; begin += P) Group<R, P>(c, begin);
    LastGroups<R, P / 2>(c, begin, end);
  }

  // Panels that are fewer than a whole group, taken by halves of it.
  template <int R, int P>
  static void LastGroups(const GemmCall& c, int begin, int end) {
    if constexpr (P > 0) {
      for (; begin + P <= end; begin += P) Group<R, P>(c, begin);
      LastGroups<R, P / 2>(c, begin, end);
    }
  }

  // What one block of rows prefetches while it works on a piece: the lines [begin, end) of every tile of the
  // next piece, counted over its P panels; the blocks of rows share them out. No piece follows: begin ==
  // end.
  struct Ahead {
    const std::byte* w;
    int begin, end;
  };

  // Multiplies all rows by P panels. With more than one block of rows, k is cut into pieces of which P panels
  // take up to 28 KiB, so that they stay in the first-level cache while the blocks of rows come by.
  template <int R, int P>
  static void Group(const GemmCall& c, int panel) {
    constexpr int kPiece = 28 * 1024 / (kTile * P) < 1 ? 1 : 28 * 1024 / (kTile * P);
    constexpr int kLines = P * kTile / 64;
    const int pieces = c.rows > R ? CeilDiv(c.tiles, kPiece) : 1;
    const int blocks = CeilDiv(c.rows, R);
    for (int i = 0; i < pieces; ++i) {
      const int from = c.tiles * i / pieces, to = c.tiles * (i + 1) / pieces;
      const std::byte* w = c.w + panel * c.panel_bytes;
      const std::byte* next = i + 1 < pieces ? w + int64_t{to} * kTile : w + P * c.panel_bytes;
      for (int b = 0; b < blocks; ++b) {
        const Ahead ahead{next, kLines * b / blocks, kLines * (b + 1) / blocks};
        if (c.rows - b * R >= R) {
          Block<R, P>(c, panel, b * R, from, to, ahead);
        } else {
          LastRows<R - 1, P>(c, panel, b * R, from, to, ahead);
        }
      }
    }
  }

  template <int R, int P>
  static void LastRows(const GemmCall& c, int panel, int row, int from, int to, const Ahead& ahead) {
    if constexpr (R > 0) {
      c.rows - row == R ? Block<R, P>(c, panel, row, from, to, ahead)
                        : LastRows<R - 1, P>(c, panel, row, from, to, ahead);
    }
  }

  // R rows, P panels, tiles [from, to). y holds the sums of the tiles before `from`, and afterwards those up
  // to `to`; behind the last tile the bias is added.
  template <int R, int P>
  [[gnu::noinline]] static void Block(const GemmCall& c, int panel, int row, int from, int to,
                                      const Ahead& ahead) {
    const X* x = static_cast<const X*>(c.x) + (int64_t{row} * c.tiles + int64_t{from} * R) * kTileK;
    const std::byte* w = c.w + panel * c.panel_bytes + int64_t{from} * kTile;
    float* y = c.y.data + row * c.y.stride + panel * kPanel;
    const int last = MinInt(kPanel, c.n - (panel + P - 1) * kPanel);  // columns of the last panel
    V acc[R][P];
    Fill(acc, y, c.y.stride, last, from == 0);
    for (int t = from; t < to; ++t) {
      int line = ahead.begin;
      for (int s = 0; s < Op::kSteps; s += 2) {
        PrefetchLines<R, P>(c, w, ahead, line, t - from, s);
        Op::template Step<R, P>(acc, x, w, c.panel_bytes, s);
        Op::template Step<R, P>(acc, x, w, c.panel_bytes, s + 1);
      }
      x += R * kTileK;
      w += kTile;
    }
    if (to == c.tiles && c.bias) AddBias(acc, c.bias + panel * kPanel, last);
    Keep(acc, y, c.y.stride, last);
  }

  // Called every second step, so that prefetches trickle between the loads instead of holding them up. One
  // block of rows reads each weight once: it asks for its P streams a little ahead, into the first cache,
  // because hardware follows one stream well and several badly. Several blocks share the next piece, into the
  // second cache.
  template <int R, int P>
  [[gnu::always_inline]] static void PrefetchLines(const GemmCall& c, const std::byte* w, const Ahead& ahead,
                                                   int& line, int t, int s) {
    constexpr int kPanelLines = kTile / 64;
    static_assert(kPanelLines == Op::kSteps);
    if (c.rows == R) {
#pragma GCC unroll 8
      for (int p = 0; p < P; ++p) {
        Prefetch(w + p * c.panel_bytes + s * 64 + kNear);
        Prefetch(w + p * c.panel_bytes + s * 64 + kNear + 64);
      }
    } else {
      const int until = ahead.begin + (ahead.end - ahead.begin) * (s + 2) / Op::kSteps;
      for (; line < until; ++line) {
        PrefetchL2(ahead.w + line / kPanelLines * c.panel_bytes + t * kTile + line % kPanelLines * 64);
      }
    }
  }
  static constexpr int kNear = 2048;

  // Sets the accumulators to zeros for the `first` tiles, else to what waits in y. `last` is the number of
  // columns that the last panel has.
  template <int R, int P>
  [[gnu::always_inline]] static void Fill(V (&acc)[R][P], const float* y, int64_t stride, int last,
                                          bool first) {
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
      for (int p = 0; p < P; ++p) {
        const float* at = y + r * stride + p * kPanel;
        acc[r][p] = first ? V::Zero() : p < P - 1 || last == kPanel ? V::Load(at) : V::LoadN(at, last);
      }
    }
  }

  template <int R, int P>
  [[gnu::always_inline]] static void AddBias(V (&acc)[R][P], const float* bias, int last) {
#pragma GCC unroll 8
    for (int p = 0; p < P; ++p) {
      const V b = p < P - 1 ? V::Load(bias + p * kPanel) : V::LoadN(bias + p * kPanel, last);
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) acc[r][p] = acc[r][p] + b;
    }
  }

  template <int R, int P>
  [[gnu::always_inline]] static void Keep(const V (&acc)[R][P], float* y, int64_t stride, int last) {
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
      for (int p = 0; p < P; ++p) {
        float* at = y + r * stride + p * kPanel;
        p < P - 1 || last == kPanel ? acc[r][p].Store(at) : acc[r][p].StoreN(at, last);
      }
    }
  }
};

// The entry of an instruction set's table for one weight type (kernel_table.h).
template <class Op, int kBlock, int kAccumulators>
constexpr GemmKernels MakeGemmKernels() {
  using K = GemmKernel<Op, kBlock, kAccumulators>;
  return {kBlock, K::kGroup, sizeof(typename Op::X), &K::Pack, &K::Panels};
}

}  // namespace hydrad::simd

#endif  // HYDRAD_KERNELS_SIMD_GEMM_KERNEL_H_
