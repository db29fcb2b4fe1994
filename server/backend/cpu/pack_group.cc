#include "server/backend/cpu/pack_group.h"

#include <algorithm>
#include <numeric>
#include <vector>

#include "server/backend/host_rows.h"
#include "server/base/background.h"

namespace hydrad {
namespace {

int Sum(const std::vector<HostMatrix>& matrices, int HostMatrix::*extent) {
  return std::accumulate(matrices.begin(), matrices.end(), 0,
                         [=](int sum, const HostMatrix& m) { return sum + m.*extent; });
}
int DownRows(const ProjectionWeights& p) {
  return RouterRows(p.gate, static_cast<int>(p.b.size())) + Sum(p.a, &HostMatrix::rows);
}

// down [DownRows, in] = the router and its threshold, then every A.
template <class T>
void CopyDown(const ProjectionWeights& p, T* down) {
  const auto append = [&](const HostMatrix& m) {
    for (int row = 0; row < m.rows; ++row) {
      Throttle();
      CopyRows(m, row, 1, down);
      down += m.cols;
    }
  };
  if (Routed(p)) append(p.router);
  if (p.gate.rule == GateRule::kThreshold) append(p.threshold);
  for (const HostMatrix& a : p.a) append(a);
}

// up [sum of ranks, out] = the columns of every B as rows.
template <class T>
void CopyUp(const ProjectionWeights& p, T* up) {
  std::vector<T> row;
  for (const HostMatrix& b : p.b) {
    row.resize(b.cols);
    for (int n = 0; n < b.rows; ++n) {
      Throttle();
      CopyRows(b, n, 1, row.data());
      for (int j = 0; j < b.cols; ++j) up[static_cast<size_t>(j) * b.rows + n] = row[j];
    }
    up += static_cast<size_t>(b.cols) * b.rows;
  }
}

const float* CopyFloats(const std::vector<float>& values, Arena& arena) {
  if (values.empty()) return nullptr;
  float* copy = arena.Take<float>(values.size());
  if (copy != nullptr) std::copy(values.begin(), values.end(), copy);
  return copy;
}

const int32_t* CopyRanks(const ProjectionWeights& p, Arena& arena) {
  int32_t* begin = arena.Take<int32_t>(p.b.size() + 1);
  if (begin == nullptr) return nullptr;
  begin[0] = 0;
  for (size_t e = 0; e < p.b.size(); ++e) begin[e + 1] = begin[e] + p.b[e].cols;
  return begin;
}

template <class T>
LoraMember<T> PackMember(const ProjectionWeights& p, const Place& place, int down_begin, T* down,
                         Arena& arena) {
  LoraMember<T> member{};
  member.down_begin = down_begin;
  member.out_begin = place.out_begin;
  member.out = place.out;
  member.experts = static_cast<int>(p.b.size());
  member.rank_begin = CopyRanks(p, arena);
  member.gate = p.gate;
  member.shared_a = p.a.size() == 1;
  member.scale = CopyFloats(p.scale, arena);
  member.router_bias = Routed(p) ? CopyFloats(p.router_bias, arena) : nullptr;
  member.out_scale = CopyFloats(p.out_scale, arena);
  member.out_bias = CopyFloats(p.out_bias, arena);
  T* up = arena.Take<T>(static_cast<size_t>(Sum(p.b, &HostMatrix::cols)) * place.out);
  member.up = up;
  if (arena.measuring()) return member;
  CopyDown(p, down + static_cast<size_t>(down_begin) * p.a.front().cols);
  CopyUp(p, up);
  return member;
}

}  // namespace

Place PlaceOf(Projection projection, const AdapterShape& s) {
  switch (projection) {
    case Projection::kQ:
      return {ProjectionGroup::kQkv, 0, s.q_out, s.hidden};
    case Projection::kK:
      return {ProjectionGroup::kQkv, s.q_out, s.kv_out, s.hidden};
    case Projection::kV:
      return {ProjectionGroup::kQkv, s.q_out + s.kv_out, s.kv_out, s.hidden};
    case Projection::kO:
      return {ProjectionGroup::kO, 0, s.hidden, s.q_out};
    case Projection::kGate:
      return {ProjectionGroup::kGateUp, 0, s.ffn, s.hidden};
    case Projection::kUp:
      return {ProjectionGroup::kGateUp, s.ffn, s.ffn, s.hidden};
    case Projection::kDown:
      return {ProjectionGroup::kDown, 0, s.hidden, s.ffn};
    case Projection::kEmbedding:
      return {ProjectionGroup{}, 0, s.hidden, s.vocab};
    case Projection::kHead:
      return {ProjectionGroup{}, 0, s.vocab, s.hidden};
  }
  return {};
}

template <class T>
void PackGroup(std::span<const ProjectionWeights* const> projections, const AdapterShape& shape,
               LoraGroup<T>* group, Arena& arena) {
  if (projections.empty()) return;
  int rows = 0;
  for (const ProjectionWeights* p : projections) rows += DownRows(*p);
  const int in = projections.front()->a.front().cols;
  T* down = arena.Take<T>(static_cast<size_t>(rows) * in);
  LoraMember<T>* members = arena.Take<LoraMember<T>>(projections.size());
  int down_begin = 0;
  for (size_t i = 0; i < projections.size(); ++i) {
    const ProjectionWeights& p = *projections[i];
    const LoraMember<T> member = PackMember(p, PlaceOf(p.projection, shape), down_begin, down, arena);
    if (!arena.measuring()) members[i] = member;
    down_begin += DownRows(p);
  }
  if (!arena.measuring()) *group = {down, rows, in, {members, projections.size()}};
}

template void PackGroup<bf16>(std::span<const ProjectionWeights* const>, const AdapterShape&,
                              LoraGroup<bf16>*, Arena&);
template void PackGroup<float>(std::span<const ProjectionWeights* const>, const AdapterShape&,
                               LoraGroup<float>*, Arena&);

}  // namespace hydrad
