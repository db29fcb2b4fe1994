#include "tests/backend/cuda/gates_seen.h"

#include <algorithm>
#include <cmath>
#include <deque>
#include <memory>

#include "server/backend/host_rows.h"

namespace hydrad {
namespace {

struct Storage {
  std::deque<std::vector<float>> matrices;
  std::shared_ptr<const void> of_adapter;
};

// The router's rows, its threshold's if it has one, and zeros, one above the other.
HostMatrix AllRows(const ProjectionWeights& p, int rows, Storage& storage) {
  const size_t in = static_cast<size_t>(p.router.cols), experts = static_cast<size_t>(p.router.rows);
  std::vector<float>& values = storage.matrices.emplace_back(static_cast<size_t>(rows) * in);
  CopyRows(p.router, 0, p.router.rows, values.data());
  if (p.threshold.data != nullptr) CopyRows(p.threshold, 0, 1, values.data() + experts * in);
  return {values.data(), DType::kF32, rows, p.router.cols};
}

template <class Weights>
auto& Find(Weights& weights, const GatePlace& place) {
  return *std::ranges::find_if(weights.projections, [&](const ProjectionWeights& p) {
    return p.layer == place.layer && p.projection == place.projection;
  });
}

}  // namespace

AdapterWeights RoutersOf(const AdapterWeights& weights) {
  AdapterWeights routers;
  const auto storage = std::make_shared<Storage>();
  storage->of_adapter = weights.storage;
  for (const ProjectionWeights& p : weights.projections) {
    if (p.gate.rule == GateRule::kNone) continue;
    const int rows = RouterRows(p.gate, p.router.rows) + 1;
    ProjectionWeights& shown = routers.projections.emplace_back();
    shown.layer = p.layer, shown.projection = p.projection;
    shown.gate = {GateRule::kFixedThreshold};  // 0: keeps all, whatever top_k the request asks for
    shown.a = {p.a.front()};
    shown.b.assign(static_cast<size_t>(rows), p.b.front());
    shown.scale.assign(static_cast<size_t>(rows), 1);
    shown.router = AllRows(p, rows, *storage);
    shown.router_bias = p.router_bias;
    if (!shown.router_bias.empty()) shown.router_bias.push_back(0);
  }
  routers.storage = storage;
  return routers;
}

std::vector<GateSeen> GatesOfRow(const AdapterWeights& weights, int top_k, const DeviceAdapter& adapter,
                                 const float* record, const DeviceAdapter& routers,
                                 const float* routers_record) {
  std::vector<GateSeen> row;
  for (size_t i = 0; i < adapter.gate_places().size(); ++i) {
    const GatePlace &place = adapter.gate_places()[i], &shown = routers.gate_places()[i];
    GateSeen& seen = row.emplace_back();
    const float* all = routers_record + shown.begin;
    for (int e = 0; e + 1 < shown.experts; ++e) {
      seen.logits.push_back(std::log(all[e] / all[shown.experts - 1]));
    }
    const LoraGate gate = WithTopK(Find(weights, place).gate, top_k, place.experts);
    const bool jumps = gate.rule == GateRule::kTopK || gate.rule == GateRule::kFixedThreshold;
    for (int e = 0; jumps && e < place.experts; ++e) {
      seen.picked.push_back(record[place.begin + e] > 0);
    }
  }
  return row;
}

bool PickedLargest(const GateSeen& seen) {
  float least = INFINITY, largest = -INFINITY;
  for (size_t e = 0; e < seen.picked.size(); ++e) {
    if (seen.picked[e]) least = std::min(least, seen.logits[e]);
    if (!seen.picked[e]) largest = std::max(largest, seen.logits[e]);
  }
  return largest <= least + 0x1p-18f * (1 + std::abs(least));
}

void AddToBias(AdapterWeights& weights, const GatePlace& place, const std::vector<float>& change) {
  ProjectionWeights& p = Find(weights, place);
  p.router_bias.resize(static_cast<size_t>(RouterRows(p.gate, place.experts)));
  for (int e = 0; e < place.experts; ++e) p.router_bias[e] += change[e];
}

}  // namespace hydrad
