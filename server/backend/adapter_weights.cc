#include "server/backend/adapter_weights.h"

#include <algorithm>

namespace hydrad {

AdapterTraits TraitsOf(const AdapterWeights& weights) {
  AdapterTraits traits;
  for (const ProjectionWeights& p : weights.projections) {
    traits.experts = std::max(traits.experts, static_cast<int>(p.b.size()));
    traits.routed |= p.gate.rule != GateRule::kNone;
    traits.dense |= p.gate.rule == GateRule::kSoftmax;
    traits.top_k &= p.gate.rule != GateRule::kThreshold;
    traits.linear &= p.out_scale.empty();
  }
  traits.top_k &= traits.routed;
  return traits;
}

}  // namespace hydrad
