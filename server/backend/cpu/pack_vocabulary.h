// An adapter's changes to the embedding and to lm_head, packed.
#ifndef HYDRAD_SERVER_BACKEND_CPU_PACK_VOCABULARY_H_
#define HYDRAD_SERVER_BACKEND_CPU_PACK_VOCABULARY_H_

#include "server/backend/adapter_weights.h"
#include "server/backend/cpu/arena.h"
#include "server/backend/cpu/vocabulary.h"

namespace hydrad {

// Lays them into `arena`; null where `weights` has none, and while measuring. Rows that are the same in both
// places are laid down once. REQUIRES: they fit `shape`.
template <class T>
const Vocabulary<T>* PackVocabulary(const AdapterWeights& weights, const AdapterShape& shape, Arena& arena);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_BACKEND_CPU_PACK_VOCABULARY_H_
