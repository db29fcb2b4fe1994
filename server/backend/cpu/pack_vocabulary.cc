#include "server/backend/cpu/pack_vocabulary.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <type_traits>
#include <vector>

#include "server/backend/cpu/pack_group.h"
#include "server/backend/host_rows.h"

namespace hydrad {
namespace {

const ProjectionWeights* Find(const AdapterWeights& weights, Projection projection) {
  const auto found = std::ranges::find(weights.projections, projection, &ProjectionWeights::projection);
  return found == weights.projections.end() ? nullptr : &*found;
}

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

// a [vocab, rank] = the transpose of A, so that a token's column is in one piece.
template <class T>
const T* PackLookup(const HostMatrix& a, Arena& arena) {
  T* lookup = arena.Take<T>(static_cast<size_t>(a.rows) * a.cols);
  if (lookup == nullptr) return lookup;
  std::vector<T> row(a.cols);
  for (int j = 0; j < a.rows; ++j) {
    CopyRows(a, j, 1, row.data());
    for (int token = 0; token < a.cols; ++token) lookup[static_cast<size_t>(token) * a.rows + j] = row[token];
  }
  return lookup;
}

// The embedding's group behind the lookup: its A is the unit matrix.
template <class T>
void PackAfterLookup(const ProjectionWeights& embedding, const AdapterShape& shape, LoraGroup<T>* group,
                     Arena& arena) {
  const int rank = embedding.a.front().rows;
  std::vector<float> unit(static_cast<size_t>(rank) * rank);
  for (int j = 0; j < rank; ++j) unit[static_cast<size_t>(j) * rank + j] = 1;
  ProjectionWeights after = embedding;
  after.a = {HostMatrix{unit.data(), DType::kF32, rank, rank}};
  PackGroup<T>(std::array{static_cast<const ProjectionWeights*>(&after)}, shape, group, arena);
}

}  // namespace

template <class T>
const Vocabulary<T>* PackVocabulary(const AdapterWeights& weights, const AdapterShape& shape, Arena& arena) {
  const ProjectionWeights* embedding = Find(weights, Projection::kEmbedding);
  const ProjectionWeights* head = Find(weights, Projection::kHead);
  const TokenRows &in = weights.embedding, &out = weights.head;
  if (!embedding && !head && in.rows.data == nullptr && out.rows.data == nullptr) return nullptr;
  Vocabulary<T>* packed = arena.Take<Vocabulary<T>>(1);
  Vocabulary<T> v;
  v.embedding = PackRowsOf<T>(in, arena);
  const bool same = in.rows.data == out.rows.data && in.tokens == out.tokens;
  v.head = same ? v.embedding : PackRowsOf<T>(out, arena);
  if (embedding != nullptr) {
    v.a = PackLookup<T>(embedding->a.front(), arena);
    PackAfterLookup<T>(*embedding, shape, &v.after, arena);
  }
  if (head != nullptr) PackGroup<T>(std::array{head}, shape, &v.head_lora, arena);
  if (packed != nullptr) *packed = v;
  return packed;
}

template const Vocabulary<bf16>* PackVocabulary(const AdapterWeights&, const AdapterShape&, Arena&);
template const Vocabulary<float>* PackVocabulary(const AdapterWeights&, const AdapterShape&, Arena&);

}  // namespace hydrad
