// An adapter on the device that holds several experts and uses one of them per sequence (MoA).
#ifndef HYDRAD_SERVER_ADAPTERS_MIXTURE_H_
#define HYDRAD_SERVER_ADAPTERS_MIXTURE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "server/backend/device_adapters.h"
#include "server/backend/expert_router.h"

namespace hydrad {

// One expert. Immutable. Generations that have it share what it has on the device, which takes its memory
// once and gives it back with the last of them.
struct DeviceExpert {
  std::string name;
  std::shared_ptr<const DeviceAdapter> adapter;
  // [layers, hidden] f32, its row of every layer's router; null: only a label picks it.
  std::shared_ptr<const Buffer> router;
  std::vector<float> router_bias;  // [layers], or empty for 0
};

// The experts of one generation and the routers over them. Immutable.
class Mixture {
 public:
  using Expert = std::shared_ptr<const DeviceExpert>;

  // The router gets a slot in `held`, that of the device which has the experts. REQUIRES: at least one
  // expert; names differ.
  Mixture(std::vector<Expert> experts, int layers, RouterPool pool, Decision decision, DeviceAdapters& held);
  Mixture(const Mixture&) = delete;
  Mixture& operator=(const Mixture&) = delete;

  const std::vector<Expert>& experts() const { return experts_; }
  int Find(std::string_view name) const;  // -1: none of the experts
  const std::vector<std::string>& names() const { return names_; }

  RouterPool pool() const { return pool_; }
  Decision decision() const { return decision_; }  // when a request does not say
  // The router over the experts that have a row. Without choices only kLabel can decide.
  const Router& router() const { return router_; }
  int32_t router_slot() const { return router_slot_.number(); }
  int expert_of(int choice) const { return routed_[static_cast<size_t>(choice)]; }

 private:
  const std::vector<Expert> experts_;
  std::vector<std::string> names_;  // [experts]
  const RouterPool pool_;
  const Decision decision_;
  std::vector<int> routed_;  // [choices] into experts_
  Router router_;
  RouterSlot router_slot_;
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_ADAPTERS_MIXTURE_H_
