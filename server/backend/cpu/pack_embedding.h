// The LoRA of the embedding, packed: a lookup, and an ordinary group behind it.
#ifndef HYDRAD_SERVER_BACKEND_CPU_PACK_EMBEDDING_H_
#define HYDRAD_SERVER_BACKEND_CPU_PACK_EMBEDDING_H_

#include "kernels/lora.h"
#include "server/backend/adapter_weights.h"
#include "server/backend/cpu/arena.h"

namespace hydrad {

// The change to kEmbedding or kHead; null if there is none.
const ProjectionWeights* FindEnd(const AdapterWeights& weights, Projection projection);

// a [vocab, rank] = the transpose of A, so that a token's column is in one piece. Null while measuring.
template <class T>
const T* PackLookup(const HostMatrix& a, Arena& arena);

// What is made of a row of that: a group like any other, whose A is the unit matrix [rank, rank].
template <class T>
void PackAfterLookup(const ProjectionWeights& embedding, const AdapterShape& shape, LoraGroup<T>* group,
                     Arena& arena);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_BACKEND_CPU_PACK_EMBEDDING_H_
