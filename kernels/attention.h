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

// The cache of one layer. Position p of a sequence is slot p % block_size of block table[p / block_size].
template <class T>  // bf16 or float
struct KvLayer {
  T* k;  // [blocks, kv_heads, block_size, head_dim]
  T* v;  // [blocks, kv_heads, block_size, head_dim]
  int block_size, kv_heads, head_dim;
};

// The rows of one sequence in the batch: row_begin + i is at position first_position + i.
struct AttentionSegment {
  int row_begin, row_end;
  int first_position;
  const int32_t* table;  // block ids of the sequence
};

namespace ref {
// Rows of k and v [rows, kv_heads * head_dim] go to slots[row] = block * block_size + offset.
template <class T>
void WriteKv(KvLayer<T> kv, Mat<const float> k, Mat<const float> v, std::span<const int32_t> slots);

// out [rows, heads * head_dim] = softmax(scale * q k^T) v over positions 0..position of the row. Query head h
// reads kv head h / (heads / kv_heads). Sums in double.
template <class T>
void Attend(Mat<float> out, Mat<const float> q, KvLayer<T> kv, std::span<const AttentionSegment> segments,
            float scale);
}  // namespace ref

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
