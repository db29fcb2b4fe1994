#include "server/backend/cpu/packed_adapter.h"

#include <algorithm>
#include <vector>

#include "server/backend/cpu/arena.h"
#include "server/backend/cpu/pack_group.h"
#include "server/base/check.h"
#include "server/base/invalid_argument.h"
#include "server/base/pages.h"
#include "server/base/status_macros.h"

namespace hydrad {
namespace {

// What is wrong with the experts, or null.
const char* ExpertFault(const ProjectionWeights& p, const Place& place) {
  const size_t experts = p.b.size();
  if (experts == 0) return "has no expert";
  if (p.a.size() != 1 && p.a.size() != experts) return "needs one A, or one per expert";
  if (p.scale.size() != experts) return "needs one scale per expert";
  for (size_t e = 0; e < experts; ++e) {
    const HostMatrix& a = p.a[p.a.size() == 1 ? 0 : e];
    if (a.rows < (p.out_bias.empty() ? 1 : 0) || a.cols != place.in) return "has an A of a wrong shape";
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
  if (p.projection == Projection::kEmbedding && (p.b.size() > 1 || Routed(p))) return "takes one expert";
  if (const char* fault = ExpertFault(p, place)) return fault;
  if (const char* fault = RouterFault(p, place)) return fault;
  const size_t out = static_cast<size_t>(place.out);
  if (!p.out_scale.empty() && p.out_scale.size() != out) return "has an output scale of a wrong length";
  if (!p.out_bias.empty() && p.out_bias.size() != out) return "has an output bias of a wrong length";
  return nullptr;
}

// What is wrong with the number of tokens, or null.
const char* VocabFault(const TokenRows& own, const AdapterShape& shape) {
  const int vocab = VocabOf(own, shape), more = vocab - shape.vocab;
  if (vocab == shape.vocab) return nullptr;
  if (own.vocab < 0 || more > shape.more_tokens || shape.more_tokens == 0)
    return "has a number of tokens that the device does not take";
  const auto brought = std::ranges::count_if(own.tokens, [&](int32_t token) { return token >= shape.vocab; });
  const bool all = own.tokens.empty() ? own.rows.data != nullptr : more < 0 || brought == more;
  return all ? nullptr : "has tokens beyond the base's without rows";
}

// What is wrong with rows of the embedding or of lm_head, or null.
const char* RowsFault(const TokenRows& own, const AdapterShape& shape) {
  if (const char* fault = VocabFault(own, shape)) return fault;
  if (own.rows.data == nullptr) return nullptr;
  const int vocab = VocabOf(own, shape);
  const size_t rows = own.tokens.empty() ? static_cast<size_t>(vocab) : own.tokens.size();
  if (own.rows.cols != shape.hidden || static_cast<size_t>(own.rows.rows) != rows) {
    return "has rows of its own of a wrong shape";
  }
  const bool inside = std::ranges::all_of(
      own.tokens, [&](int32_t token) { return token >= 0 && token < std::max(vocab, shape.vocab); });
  return inside ? nullptr : "has a row of a token that the model does not have";
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
  if (const char* fault = RowsFault(weights.embedding, shape))
    return InvalidArgument("embed_tokens: {}", fault);
  if (const char* fault = RowsFault(weights.head, shape)) return InvalidArgument("lm_head: {}", fault);
  const int reads = VocabOf(weights.embedding, shape);
  if (VocabOf(weights.head, shape) > std::max(reads, shape.vocab))
    return InvalidArgument("lm_head: has tokens that the embedding lacks");
  if (reads > shape.vocab && std::ranges::any_of(weights.projections, [](const ProjectionWeights& p) {
        return p.projection == Projection::kEmbedding;
      })) {
    return InvalidArgument("embed_tokens: has a LoRA, which knows the base's tokens only, and others");
  }
  return absl::OkStatus();
}

using GroupProjections = std::vector<const ProjectionWeights*>;

// Every layer's groups, members in the order of kProjectionNames. Without the ends of the network, which
// PackVocabulary packs.
std::vector<GroupProjections> SortByGroup(const AdapterWeights& weights, const AdapterShape& shape) {
  std::vector<GroupProjections> by_group(static_cast<size_t>(shape.layers) * kProjectionGroups);
  for (const ProjectionWeights& p : weights.projections) {
    if (p.projection >= Projection::kEmbedding) continue;
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
                                          typename PackedAdapter<T>::PackEnds ends, Arena& arena) {
  const std::vector<GroupProjections> by_group = SortByGroup(weights, shape);
  LoraGroup<T>* groups = arena.Take<LoraGroup<T>>(by_group.size());
  int32_t* gate_begin = arena.Take<int32_t>(by_group.size());
  const std::span<const GatePlace> places = PackPlaces(by_group, gate_begin, arena);
  for (size_t i = 0; i < by_group.size(); ++i) {
    if (groups != nullptr) groups[i] = {};
    PackGroup<T>(by_group[i], shape, groups == nullptr ? nullptr : groups + i, arena);
  }
  return {groups, gate_begin, places, ends == nullptr ? nullptr : ends(weights, shape, arena)};
}

}  // namespace

template <class T>
size_t PackedAdapter<T>::Bytes(const AdapterWeights& weights, const AdapterShape& shape, PackEnds ends) {
  if (!Check(weights, shape).ok()) return 0;
  Arena arena(nullptr);
  PackAll<T>(weights, shape, ends, arena);
  return TakenBytes(arena.used());
}

template <class T>
absl::StatusOr<std::unique_ptr<PackedAdapter<T>>> PackedAdapter<T>::Pack(const AdapterWeights& weights,
                                                                         const AdapterShape& shape,
                                                                         PackEnds ends) {
  RETURN_IF_ERROR(Check(weights, shape));
  ASSIGN_OR_RETURN(auto memory, AlignedBuffer::Allocate(Bytes(weights, shape, ends)));
  Arena arena(static_cast<std::byte*>(memory->data()));
  const Tables tables = PackAll<T>(weights, shape, ends, arena);
  HYDRAD_CHECK(TakenBytes(arena.used()) == memory->bytes());
  return std::unique_ptr<PackedAdapter>(new PackedAdapter(std::move(memory), tables, shape.layers));
}

template class PackedAdapter<bf16>;
template class PackedAdapter<float>;

}  // namespace hydrad
