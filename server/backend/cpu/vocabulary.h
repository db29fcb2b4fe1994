// What an adapter changes at the two ends of the network: the embedding and lm_head.
#ifndef HYDRAD_SERVER_BACKEND_CPU_VOCABULARY_H_
#define HYDRAD_SERVER_BACKEND_CPU_VOCABULARY_H_

#include <cstdint>
#include <span>

#include "kernels/gemm.h"
#include "kernels/lora.h"
#include "kernels/types.h"
#include "server/backend/cpu/scratch.h"
#include "server/backend/step.h"

namespace hydrad {

// Rows of a [vocab, hidden] matrix that an adapter has in place of the base's.
struct PackedRows {
  struct Place {
    int32_t token, row;
  };
  PackedWeights matrix{};         // n 0: none
  std::span<const Place> places;  // [matrix.n] ascending by token; empty: row i is token i's
  int vocab = 0;                  // TokenRows::vocab
  // The row of a token, -1 where the base's holds.
  int Find(int32_t token) const;
};

// Views of an adapter's memory.
template <class T>  // element type of adapters, bf16 or float
struct Vocabulary {
  PackedRows embedding, head;
  // The embedding's LoRA: the token's row of A^T, and what is made of it. As `after` is a group like any
  // other, and its A has been applied, its `down` is the unit matrix [rank, rank].
  const T* a = nullptr;  // [vocab, rank]; null: none
  LoraGroup<T> after{};
  LoraGroup<T> head_lora{};  // without members: none
};

// The rows of `out` [rows, hidden], which hold the base's embeddings, become those of the runs' adapters.
// `ends` [runs of the batch]: what each changes, null where nothing.
template <class T>
void AdaptEmbedding(simd::Pool& pool, const Batch& batch, std::span<const Vocabulary<T>* const> ends,
                    Mat<float> out, Scratch& scratch);
// The rows of `logits` [logit rows, vocab], which hold the base's lm_head of x, become those of the runs'
// adapters. The stride has room for the tokens that these bring.
template <class T>
void AdaptHead(simd::Pool& pool, const Batch& batch, std::span<const Vocabulary<T>* const> ends,
               Mat<float> logits, Mat<const float> x, Scratch& scratch);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_BACKEND_CPU_VOCABULARY_H_
