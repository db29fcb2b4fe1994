// Causal attention over a paged KV cache, grouped-query heads (GQA, arXiv 2305.13245; paging as in arXiv
// 2309.06180).
//
// Promise: the result of a row depends on that row and the cached positions 0..its own alone; the order of
// summation over positions is fixed, so a prompt cut into any chunks gives the same bits.
#ifndef HYDRAD_KERNELS_ATTENTION_H_
#define HYDRAD_KERNELS_ATTENTION_H_

#include <cstdint>
#include <span>

#include "kernels/types.h"

namespace hydrad {

namespace simd {
class Pool;
}

// The cache of one layer: a view of memory that the model owns. Position p of a sequence is slot p %
// block_size of block table[p / block_size], and its row in k and in v is [head_dim] for each kv head.
template <class T>  // bf16 or float
struct KvLayer {
  T* k;  // [blocks, kv_heads, block_size, head_dim]
  T* v;  // [blocks, kv_heads, block_size, head_dim]
  int block_size, kv_heads, head_dim;
};

// The rows of one sequence in the batch: row_begin + i is at position first_position + i.
struct AttentionSegment {
  int row_begin, row_end;  // of the batch
  int first_position;      // in the sequence, from 0
  const int32_t* table;    // block ids of the sequence, for every position up to the last row's
};

namespace ref {
// Rows of k and v [rows, kv_heads * head_dim] go to slots[row] = block * block_size + offset.
template <class T>
void WriteKv(KvLayer<T> kv, Mat<const float> k, Mat<const float> v, std::span<const int32_t> slots);

// out [rows, heads * head_dim] = softmax(scale * q k^T) v over positions 0..position of the row. Query head h
// reads kv head h / (heads / kv_heads). Rows that are in no segment are untouched. Sums in double.
// REQUIRES: K and V of the segments' own rows have been written; heads is a multiple of kv_heads.
template <class T>
void Attend(Mat<float> out, Mat<const float> q, KvLayer<T> kv, std::span<const AttentionSegment> segments,
            float scale);
}  // namespace ref

// The same in f32, by the online softmax of simd/attend_kernel.h. Called by the thread that may use the pool.
namespace simd {
template <class T>
void WriteKv(Pool& pool, KvLayer<T> kv, Mat<const float> k, Mat<const float> v,
             std::span<const int32_t> slots);
template <class T>
void Attend(Pool& pool, Mat<float> out, Mat<const float> q, KvLayer<T> kv,
            std::span<const AttentionSegment> segments, float scale);
}  // namespace simd

}  // namespace hydrad

#endif  // HYDRAD_KERNELS_ATTENTION_H_
