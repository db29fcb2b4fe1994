// The inner loops of one instruction set, behind function pointers. The doors (gemm.cc, lora.cc, ...) share
// the work out over the pool and call these on pieces; how it is cut never changes a result, because each of
// these sums in an order that depends on the inner length alone.
//
// Internal to kernels/simd, its tests and its benchmark.
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
  Mat<float> y;
  const void* x;
  const std::byte* w;  // panels.h
  int64_t panel_bytes;
  int rows, n, tiles;  // tiles of 32 k
  const float* bias;   // [n] or null
};

// The kernels of one weight type.
struct GemmKernels {
  int block;      // rows in a block of packed x
  int group;      // panels that are best taken together; work is cut at multiples of it
  int x_element;  // bytes of an element of packed x
  void (*pack)(void* packed, Mat<const float> x, int row_begin,
               int row_end);  // row_begin: multiple of `block`
  void (*panels)(const GemmCall& call, int panel_begin, int panel_end);
};

// Rows of a tile: the first `count`, or those that `list` names.
struct TileRows {
  int count;
  const int32_t* list;  // [count] ascending, or null

  [[gnu::always_inline]] int64_t operator[](int i) const { return list ? list[i] : i; }
};

// u[r][i] = dot(d + i * in, x row r) for `count` rows of D and r in `rows`; prefetches as many rows of D from
// `next`, if not null.
template <class T>
struct DotsCall {
  const T* d;
  const T* next;
  int count, in;
  TileRows rows;
  Mat<const float> x;
  float* u;
  int64_t u_stride;
};

// y[r][c] += sum over j of z[r][j] * up[j * up_stride + c] for r in `rows`; prefetches like columns of
// `next`, if not null.
template <class T>
struct ExpandCall {
  TileRows rows;
  Mat<float> y;
  const float* z;
  int64_t z_stride;
  int count;
  const T* up;
  const T* next;
  int64_t up_stride;
};

// `rows` rows of one sequence and `heads` query heads of one kv head; rows * heads <= kAttendQueries.
constexpr int kAttendQueries = 16;
template <class T>
struct AttendCall {
  KvLayer<T> kv;
  const int32_t* table;
  int kv_head, heads, rows;
  int first_position;
  const float* q;  // row 0, first of the heads
  float* out;
  int64_t q_stride, out_stride;
  float scale;
  float* work;  // kAttendQueries * AttendWidth(head_dim) floats
};
[[gnu::always_inline]] inline int AttendWidth(int head_dim) { return (head_dim + 15) / 16 * 16; }

struct Table {
  GemmKernels gemm[2];  // by WeightType
  void (*dots_bf16)(const DotsCall<bf16>&);
  void (*dots_f32)(const DotsCall<float>&);
  void (*expand_bf16)(const ExpandCall<bf16>&);
  void (*expand_f32)(const ExpandCall<float>&);
  void (*softmax)(float* x, int n);
  void (*attend_bf16)(const AttendCall<bf16>&);
  void (*attend_f32)(const AttendCall<float>&);
  void (*rms_norm)(float* y, const float* x, const float* weight, int width, float eps);
  void (*rope)(float* x, int head_dim, const float* cos_sin);
  void (*silu_mul)(float* y, const float* gate, const float* up, int n);
  void (*add)(float* y, const float* x, int n);
  float (*max_or_nan)(const float* x, int64_t n);
  double (*exp_sum)(const float* x, float max, float temperature, float* weight, int64_t n);
};

// REQUIRES: Supported(isa).
const Table& TableFor(Isa isa);

const Table& PortableTable();
const Table& Avx2Table();
const Table& Avx512Table();
const Table& Avx512Bf16Table();
const Table& AmxTable();

}  // namespace hydrad::simd

#endif  // HYDRAD_KERNELS_SIMD_KERNEL_TABLE_H_
