#include "server/backend/adapter_weights.h"

#include <algorithm>

namespace hydrad {

bool ChangesEnds(const AdapterWeights& weights) {
  return HasOwn(weights.embedding) || HasOwn(weights.head) ||
         std::ranges::any_of(weights.projections, [](const ProjectionWeights& p) {
           return p.projection >= Projection::kEmbedding;
         });
}

AdapterTraits TraitsOf(const AdapterWeights& weights) {
  AdapterTraits traits;
  for (const ProjectionWeights& p : weights.projections) {
    traits.experts = std::max(traits.experts, static_cast<int>(p.b.size()));
    traits.routed |= p.gate.rule != GateRule::kNone;
    traits.dense |= p.gate.rule == GateRule::kSoftmax;
    traits.top_k &= !HasThreshold(p.gate.rule);
    traits.linear &= p.out_scale.empty();
  }
  traits.linear &= !HasOwn(weights.embedding) && !HasOwn(weights.head);
  traits.top_k &= traits.routed;
  return traits;
}

}  // namespace hydrad
