#include "server/backend/cpu/pack_embedding.h"

#include <algorithm>
#include <array>
#include <vector>

#include "server/backend/cpu/pack_group.h"
#include "server/backend/host_rows.h"

namespace hydrad {

const ProjectionWeights* FindEnd(const AdapterWeights& weights, Projection projection) {
  const auto found = std::ranges::find(weights.projections, projection, &ProjectionWeights::projection);
  return found == weights.projections.end() ? nullptr : &*found;
}

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

template const bf16* PackLookup(const HostMatrix&, Arena&);
template const float* PackLookup(const HostMatrix&, Arena&);
template void PackAfterLookup(const ProjectionWeights&, const AdapterShape&, LoraGroup<bf16>*, Arena&);
template void PackAfterLookup(const ProjectionWeights&, const AdapterShape&, LoraGroup<float>*, Arena&);

}  // namespace hydrad
