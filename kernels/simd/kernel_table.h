// The inner loops of one instruction set, behind function pointers. The doors (gemm.cc, lora.cc, ...) share
// the work out over the pool and call these on pieces; how it is cut never changes a result, because each of
// these sums in an order that depends on the inner length alone.
//
// Internal to kernels/simd, its tests and its benchmark. No function here allocates, waits or fails; all may
// be called by any number of threads at once that do not write the same elements. Arguments are not checked:
// the doors have done that. Offsets and strides are in elements, not bytes, unless a name says so.
#ifndef HYDRAD_KERNELS_SIMD_KERNEL_TABLE_H_
#define HYDRAD_KERNELS_SIMD_KERNEL_TABLE_H_

#include <cstddef>
#include <cstdint>

#include "kernels/attention.h"
#include "kernels/gemm.h"
#include "kernels/simd/isa.h"
#include "kernels/types.h"

namespace hydrad::simd {

// One product, x already packed. Packed x is cut into blocks of `block` rows (the last one has what is left);
// a block is [k tile][row][32 k], of bf16 where the instruction set multiplies bf16, else of floats.
struct GemmCall {
  Mat<float> y;         // [rows, n], written; what it held is not read
  const void* x;        // packed, at 64 bytes
  const std::byte* w;   // panels of 16 columns as panels.h lays them out, at 64 bytes
  int64_t panel_bytes;  // from one panel to the next
  int rows, n, tiles;   // tiles of 32 k
  const float* bias;    // [n] or null
};

// The kernels of one weight type.
struct GemmKernels {
  int block;      // rows in a block of packed x
  int group;      // panels that are best taken together; work is cut at multiples of it
  int x_element;  // bytes of an element of packed x
  // Packs the rows [row_begin, row_end) of x. REQUIRES: row_begin is a multiple of `block`, and so is
  // row_end, unless it is x.rows.
  void (*pack)(void* packed, Mat<const float> x, int row_begin, int row_end);
  // Computes all rows of y for the panels [panel_begin, panel_end): columns from 16 * panel_begin on.
  void (*panels)(const GemmCall& call, int panel_begin, int panel_end);
};

// Rows of a tile: the first `count`, or those that `list` names.
struct TileRows {
  int count;
  const int32_t* list;  // [count] ascending, or null

  [[gnu::always_inline]] int64_t operator[](int i) const { return list ? list[i] : i; }
};

// u[r][i] = dot(d + i * in, x row r) for i < count and r in `rows`: the shrink of kernels/lora.h. As many
// rows from `next`, if that is not null, are asked for meanwhile: those that the same thread multiplies by
// next.
template <class T>
struct DotsCall {
  const T* d;     // [count, in]
  const T* next;  // [count, in] or null
  int count, in;
  TileRows rows;
  Mat<const float> x;  // [.., in], indexed by `rows`
  float* u;            // [.., u_stride], likewise
  int64_t u_stride;
};

// y[r][c] += sum over j < count of z[r][j] * up[j * up_stride + c] for r in `rows`: the expand of
// kernels/lora.h. The same columns from `next`, if that is not null, are asked for meanwhile.
template <class T>
struct ExpandCall {
  TileRows rows;
  Mat<float> y;    // its rows are indexed by `rows`, its columns are those to add to
  const float* z;  // [.., z_stride], likewise
  int64_t z_stride;
  int count;      // coefficients
  const T* up;    // [count, up_stride]
  const T* next;  // likewise, or null
  int64_t up_stride;
};

constexpr int kAttendQueries = 16;
// Attention of `rows` consecutive rows of one sequence and the `heads` query heads that share one kv head.
// REQUIRES: rows * heads <= kAttendQueries.
template <class T>
struct AttendCall {
  KvLayer<T> kv;
  const int32_t* table;  // the cache block of each block of positions of the sequence
  int kv_head, heads, rows;
  int first_position;  // of row 0; a row sees the positions up to its own
  const float* q;      // [rows, heads, head_dim], rows q_stride apart, at the first of the heads
  float* out;          // likewise, rows out_stride apart
  int64_t q_stride, out_stride;
  float scale;  // of scores before the softmax
  float* work;  // [kAttendQueries, AttendWidth(head_dim)], scratch
};
// Returns the floats that a query has in AttendCall::work: head_dim in whole vectors.
[[gnu::always_inline]] inline int AttendWidth(int head_dim) { return (head_dim + 15) / 16 * 16; }

// Everything that an instruction set computes. Of two sets the same call may give results that differ by
// rounding; of one set it always gives the same bits. What an operation is, is said where its door is
// (kernels/*.h); `rms_norm`, `rope`, `silu_mul` and `add` do one row of theirs.
struct Table {
  GemmKernels gemm[2];  // by WeightType
  void (*dots_bf16)(const DotsCall<bf16>&);
  void (*dots_f32)(const DotsCall<float>&);
  void (*expand_bf16)(const ExpandCall<bf16>&);
  void (*expand_f32)(const ExpandCall<float>&);
  void (*softmax)(float* x, int n);  // in place
  void (*attend_bf16)(const AttendCall<bf16>&);
  void (*attend_f32)(const AttendCall<float>&);
  void (*rms_norm)(float* y, const float* x, const float* weight, int width, float eps);
  void (*rope)(float* x, int head_dim, const float* cos_sin);
  void (*silu_mul)(float* y, const float* gate, const float* up, int n);
  void (*add)(float* y, const float* x, int n);
  // The two scans of a row of logits; see row_scan.h.
  float (*max_or_nan)(const float* x, int64_t n);
  double (*exp_sum)(const float* x, float max, float temperature, float* weight, int64_t n);
};

// Returns the table of an instruction set, which lives as long as the program. REQUIRES: Supported(isa).
const Table& TableFor(Isa isa);

// The tables themselves, each from a source that is compiled for its instruction set. TableFor picks among
// them.
const Table& PortableTable();
const Table& Avx2Table();
const Table& Avx512Table();
const Table& Avx512Bf16Table();
const Table& AmxTable();

}  // namespace hydrad::simd

#endif  // HYDRAD_KERNELS_SIMD_KERNEL_TABLE_H_
