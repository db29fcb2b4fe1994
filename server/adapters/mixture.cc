#include "server/adapters/mixture.h"

#include <algorithm>
#include <utility>

namespace hydrad {

Mixture::Mixture(std::vector<Expert> experts, int layers, RouterPool pool, Decision decision,
                 DeviceAdapters& held)
    : experts_(std::move(experts)), pool_(pool), decision_(decision) {
  for (const Expert& expert : experts_) names_.push_back(expert->name);
  router_.layers = layers;
  for (size_t e = 0; e < experts_.size(); ++e) {
    if (experts_[e]->router == nullptr) continue;
    routed_.push_back(static_cast<int>(e));
    router_.rows.push_back(experts_[e]->router.get());
    router_.experts.push_back(experts_[e]->adapter.get());
  }
  for (int layer = 0; layer < layers; ++layer) {
    for (const int e : routed_) {
      const std::vector<float>& bias = experts_[static_cast<size_t>(e)]->router_bias;
      router_.bias.push_back(bias.empty() ? 0 : bias[static_cast<size_t>(layer)]);
    }
  }
  router_slot_ = held.Add(router_);
}

int Mixture::Find(std::string_view name) const {
  const auto found = std::ranges::find_if(experts_, [&](const Expert& e) { return e->name == name; });
  return found == experts_.end() ? -1 : static_cast<int>(found - experts_.begin());
}

}  // namespace hydrad
