#include "server/scheduler/router_tally.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace hydrad {

RouterTally::RouterTally(std::span<const GatePlace> places, bool keep_means)
    : places_(places), keep_means_(keep_means) {
  int experts = 0;
  for (const GatePlace& place : places) experts = std::max(experts, place.experts);
  expert_tokens_.resize(static_cast<size_t>(experts));
  share_.resize(static_cast<size_t>(experts));
  if (keep_means && !places.empty())
    means_.resize(static_cast<size_t>(places.back().begin + places.back().experts));
}

void RouterTally::Add(std::span<const float> gates, int drawn_for) {
  ++rows_;
  for (size_t i = 0; i < means_.size(); ++i) means_[i] += gates[i];
  if (drawn_for >= 0) AddDrawn(gates, drawn_for);
}

void RouterTally::AddDrawn(std::span<const float> gates, int choice) {
  ++drawn_;
  std::ranges::fill(share_, 0);
  for (const GatePlace& place : places_) {
    const auto weights = gates.subspan(static_cast<size_t>(place.begin), static_cast<size_t>(place.experts));
    const float sum = std::accumulate(weights.begin(), weights.end(), 0.f);
    if (!(sum > 0)) continue;  // a threshold that nobody reached, or NaN
    float entropy = 0;
    for (size_t e = 0; e < weights.size(); ++e) {
      const float p = weights[e] / sum;
      share_[e] += p;
      if (p > 0) entropy -= p * std::log(p);
    }
    if (weights.size() < 2) continue;
    entropy_sum_ += entropy / std::log(static_cast<float>(weights.size()));
    ++entropies_;
  }
  const double total = std::accumulate(share_.begin(), share_.end(), 0.0);
  for (size_t e = 0; e < share_.size() && total > 0; ++e) expert_tokens_[e] += share_[e] / total;
  if (!keep_means_) return;
  if (top_.size() <= static_cast<size_t>(choice)) top_.resize(static_cast<size_t>(choice) + 1);
  const auto most = std::ranges::max_element(share_);
  top_[static_cast<size_t>(choice)].push_back(static_cast<int32_t>(most - share_.begin()));
}

double RouterTally::entropy() const {
  return entropies_ == 0 ? 0 : entropy_sum_ / static_cast<double>(entropies_);
}

AdapterRouting RouterTally::Routing(const std::string& adapter) const {
  AdapterRouting routing{adapter, rows_, {}, top_};
  for (const GatePlace& place : places_) {
    AdapterRouting::Router& router = routing.routers.emplace_back();
    router.layer = place.layer;
    router.projection = place.projection;
    for (int e = 0; e < place.experts && rows_ > 0; ++e) {
      router.mean.push_back(static_cast<float>(means_[static_cast<size_t>(place.begin + e)] / rows_));
    }
  }
  return routing;
}

}  // namespace hydrad
