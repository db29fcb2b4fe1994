#include "server/backend/cpu/pack_vocabulary.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <type_traits>
#include <vector>

#include "server/backend/cpu/pack_embedding.h"
#include "server/backend/cpu/pack_group.h"
#include "server/backend/host_rows.h"

namespace hydrad {
namespace {

template <class T>
void PackMatrix(const HostMatrix& rows, const PackedWeights& packed, size_t bytes) {
  constexpr int kRowsAtOnce = 64;
  std::memset(packed.data, 0, bytes);  // also the rows that fill up the last panel
  std::vector<T> some(static_cast<size_t>(kRowsAtOnce) * rows.cols);
  for (int begin = 0; begin < rows.rows; begin += kRowsAtOnce) {
    const int count = std::min(kRowsAtOnce, rows.rows - begin);
    CopyRows(rows, begin, count, some.data());
    simd::PackRows(packed, begin, Mat<const T>{some.data(), count, rows.cols, rows.cols});
  }
}

template <class T>
PackedRows PackRowsOf(const TokenRows& own, Arena& arena) {
  PackedRows packed;
  packed.vocab = own.vocab;
  if (own.rows.data == nullptr) return packed;
  const WeightType type = std::is_same_v<T, bf16> ? WeightType::kBf16 : WeightType::kF32;
  const size_t bytes = simd::PackedBytes(type, own.rows.rows, own.rows.cols);
  packed.matrix = {type, own.rows.rows, own.rows.cols, arena.Take<std::byte>(bytes)};
  PackedRows::Place* places = arena.Take<PackedRows::Place>(own.tokens.size());
  if (arena.measuring()) return packed;
  PackMatrix<T>(own.rows, packed.matrix, bytes);
  for (size_t i = 0; i < own.tokens.size(); ++i) places[i] = {own.tokens[i], static_cast<int32_t>(i)};
  packed.places = {places, own.tokens.size()};
  std::sort(places, places + own.tokens.size(),
            [](const PackedRows::Place& a, const PackedRows::Place& b) { return a.token < b.token; });
  return packed;
}

}  // namespace

template <class T>
const Vocabulary<T>* PackVocabulary(const AdapterWeights& weights, const AdapterShape& shape, Arena& arena) {
  if (!ChangesEnds(weights)) return nullptr;
  const TokenRows &in = weights.embedding, &out = weights.head;
  Vocabulary<T>* packed = arena.Take<Vocabulary<T>>(1);
  Vocabulary<T> v;
  v.embedding = PackRowsOf<T>(in, arena);
  const bool same = in.rows.data == out.rows.data && in.tokens == out.tokens;
  v.head = same ? v.embedding : PackRowsOf<T>(out, arena);
  v.head.vocab = out.vocab;
  if (const ProjectionWeights* embedding = FindEnd(weights, Projection::kEmbedding)) {
    v.a = PackLookup<T>(embedding->a.front(), arena);
    PackAfterLookup<T>(*embedding, shape, &v.after, arena);
  }
  if (const ProjectionWeights* head = FindEnd(weights, Projection::kHead)) {
    PackGroup<T>(std::array{head}, shape, &v.head_lora, arena);
  }
  if (packed != nullptr) *packed = v;
  return packed;
}

template const Vocabulary<bf16>* PackVocabulary(const AdapterWeights&, const AdapterShape&, Arena&);
template const Vocabulary<float>* PackVocabulary(const AdapterWeights&, const AdapterShape&, Arena&);

}  // namespace hydrad
