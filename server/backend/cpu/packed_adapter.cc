#include "server/backend/cpu/packed_adapter.h"

#include <algorithm>
#include <array>
#include <new>
#include <numeric>
#include <vector>

#include "server/backend/host_rows.h"

namespace hydrad {
namespace {

// Where a projection stands: its group, its columns among the group's outputs, and the width of its input.
struct Place {
  ProjectionGroup group;
  int out_begin, out, in;
};

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
  }
  return {};
}

bool Routed(const ProjectionWeights& p) { return p.gate.rule != GateRule::kNone; }

// What is wrong with the experts, or null.
const char* ExpertFault(const ProjectionWeights& p, const Place& place) {
  const size_t experts = p.b.size();
  if (experts == 0) return "has no expert";
  if (p.a.size() != 1 && p.a.size() != experts) return "needs one A, or one per expert";
  if (p.scale.size() != experts) return "needs one scale per expert";
  for (size_t e = 0; e < experts; ++e) {
    const HostMatrix& a = p.a[p.a.size() == 1 ? 0 : e];
    if (a.rows < 1 || a.cols != place.in) return "has an A of a wrong shape";
    if (p.b[e].cols != a.rows || p.b[e].rows != place.out) return "has a B of a wrong shape";
  }
  return nullptr;
}

const char* RouterFault(const ProjectionWeights& p, const Place& place) {
  const int experts = static_cast<int>(p.b.size());
  if (!Routed(p)) return nullptr;
  if (p.router.data == nullptr) return "has no router";
  if (p.router.rows != experts || p.router.cols != place.in) return "has a router of a wrong shape";
  if (p.gate.rule == GateRule::kTopK && p.gate.top_k < 1) return "keeps no expert";
  if (p.gate.rule == GateRule::kThreshold) {
    if (p.threshold.data == nullptr) return "has no threshold";
    if (p.threshold.rows != 1 || p.threshold.cols != place.in) return "has a threshold of a wrong shape";
  }
  const size_t rows = static_cast<size_t>(RouterRows(p.gate, experts));
  if (!p.router_bias.empty() && p.router_bias.size() != rows) return "has a router bias of a wrong length";
  return nullptr;
}

const char* FirstFault(const ProjectionWeights& p, const Place& place) {
  if (const char* fault = ExpertFault(p, place)) return fault;
  if (const char* fault = RouterFault(p, place)) return fault;
  const size_t out = static_cast<size_t>(place.out);
  if (!p.out_scale.empty() && p.out_scale.size() != out) return "has an output scale of a wrong length";
  if (!p.out_bias.empty() && p.out_bias.size() != out) return "has an output bias of a wrong length";
  return nullptr;
}

absl::Status Check(const AdapterWeights& weights, const AdapterShape& shape) {
  std::vector<bool> seen(static_cast<size_t>(shape.layers) * kProjections);
  for (const ProjectionWeights& p : weights.projections) {
    const char* name = kProjectionNames[static_cast<int>(p.projection)];
    if (p.layer < 0 || p.layer >= shape.layers) {
      return InvalidArgument("layer {} {}: the model has {} layers", p.layer, name, shape.layers);
    }
    const size_t index = static_cast<size_t>(p.layer) * kProjections + static_cast<size_t>(p.projection);
    if (seen[index]) return InvalidArgument("layer {} {}: given twice", p.layer, name);
    seen[index] = true;
    if (const char* fault = FirstFault(p, PlaceOf(p.projection, shape))) {
      return InvalidArgument("layer {} {}: {}", p.layer, name, fault);
    }
  }
  return absl::OkStatus();
}

// Hands out pieces of one block of memory. Without a block it only adds up what they need, and every piece is
// null.
class Arena {
 public:
  explicit Arena(std::byte* base) : base_(base) {}

  template <class V>
  V* Take(size_t count) {
    const size_t begin = used_;
    used_ += (count * sizeof(V) + 63) / 64 * 64;
    return base_ == nullptr ? nullptr : new (base_ + begin) V[count];
  }
  bool measuring() const { return base_ == nullptr; }
  size_t used() const { return used_; }

 private:
  std::byte* base_;
  size_t used_ = 0;
};

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
    CopyRows(m, 0, m.rows, down);
    down += static_cast<size_t>(m.rows) * m.cols;
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
  CopyDown(p, down + static_cast<size_t>(down_begin) * place.in);
  CopyUp(p, up);
  return member;
}

using GroupProjections = std::vector<const ProjectionWeights*>;

template <class T>
void PackGroup(const GroupProjections& projections, const AdapterShape& shape, LoraGroup<T>* group,
               Arena& arena) {
  if (projections.empty()) return;
  int rows = 0;
  for (const ProjectionWeights* p : projections) rows += DownRows(*p);
  const int in = PlaceOf(projections.front()->projection, shape).in;
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

// Every layer's groups, members in the order of kProjectionNames.
std::vector<GroupProjections> SortByGroup(const AdapterWeights& weights, const AdapterShape& shape) {
  std::vector<GroupProjections> by_group(static_cast<size_t>(shape.layers) * kProjectionGroups);
  for (const ProjectionWeights& p : weights.projections) {
    const int group = static_cast<int>(PlaceOf(p.projection, shape).group);
    by_group[static_cast<size_t>(p.layer) * kProjectionGroups + group].push_back(&p);
  }
  for (GroupProjections& group : by_group) {
    std::sort(group.begin(), group.end(),
              [](const auto* a, const auto* b) { return a->projection < b->projection; });
  }
  return by_group;
}

std::span<const GatePlace> PackPlaces(const std::vector<GroupProjections>& by_group, int32_t* gate_begin,
                                      Arena& arena) {
  std::vector<GatePlace> places;
  int begin = 0;
  for (size_t i = 0; i < by_group.size(); ++i) {
    if (gate_begin != nullptr) gate_begin[i] = begin;
    for (const ProjectionWeights* p : by_group[i]) {
      if (!Routed(*p)) continue;
      places.push_back({p->layer, p->projection, begin, static_cast<int32_t>(p->b.size())});
      begin += places.back().experts;
    }
  }
  GatePlace* copy = arena.Take<GatePlace>(places.size());
  if (copy == nullptr) return {};
  std::copy(places.begin(), places.end(), copy);
  return {copy, places.size()};
}

// Lays the whole adapter into `arena`; the tables come first.
template <class T>
typename PackedAdapter<T>::Tables PackAll(const AdapterWeights& weights, const AdapterShape& shape,
                                          Arena& arena) {
  const std::vector<GroupProjections> by_group = SortByGroup(weights, shape);
  LoraGroup<T>* groups = arena.Take<LoraGroup<T>>(by_group.size());
  int32_t* gate_begin = arena.Take<int32_t>(by_group.size());
  const std::span<const GatePlace> places = PackPlaces(by_group, gate_begin, arena);
  for (size_t i = 0; i < by_group.size(); ++i) {
    if (groups != nullptr) groups[i] = {};
    PackGroup(by_group[i], shape, groups == nullptr ? nullptr : groups + i, arena);
  }
  return {groups, gate_begin, places};
}

}  // namespace

template <class T>
size_t PackedAdapter<T>::Bytes(const AdapterWeights& weights, const AdapterShape& shape) {
  if (!Check(weights, shape).ok()) return 0;
  Arena arena(nullptr);
  PackAll<T>(weights, shape, arena);
  return arena.used();
}

template <class T>
absl::StatusOr<std::unique_ptr<PackedAdapter<T>>> PackedAdapter<T>::Pack(const AdapterWeights& weights,
                                                                         const AdapterShape& shape) {
  RETURN_IF_ERROR(Check(weights, shape));
  ASSIGN_OR_RETURN(auto memory, AlignedBuffer::Allocate(Bytes(weights, shape)));
  Arena arena(static_cast<std::byte*>(memory->data()));
  const Tables tables = PackAll<T>(weights, shape, arena);
  HYDRAD_CHECK(arena.used() == memory->bytes());
  return std::unique_ptr<PackedAdapter>(new PackedAdapter(std::move(memory), tables, shape.layers));
}

template class PackedAdapter<bf16>;
template class PackedAdapter<float>;

}  // namespace hydrad
