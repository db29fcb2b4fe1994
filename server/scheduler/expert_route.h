// Which expert of an adapter that holds several (MoA) the sequences of one request use: decided once, from
// the prompt, and kept to their end, also through preemption.
//
//   label   decided from the start: the client named the expert
//   last, vote   the prompt runs once on the base model (the routing pass), the routers look on; then it runs
//           again, adapted
//   layer   the prompt runs once, whole, in one step, and each layer's router decides when the step reaches
//           it
#ifndef HYDRAD_SERVER_SCHEDULER_EXPERT_ROUTE_H_
#define HYDRAD_SERVER_SCHEDULER_EXPERT_ROUTE_H_

#include <absl/status/statusor.h>

#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "server/adapters/mixture.h"
#include "server/backend/step.h"
#include "server/scheduler/token_sink.h"

namespace hydrad {

struct Request;
class ExpertRoute;

// Returns the route of a request whose adapter has just been bound; null where it does not hold several
// experts. INVALID_ARGUMENT for an expert or a decision that its adapter does not have, and for a prompt of
// more than `unsplit_rows` tokens that would have to run in one step.
absl::StatusOr<std::unique_ptr<ExpertRoute>> MakeRoute(const Request& request, int unsplit_rows);

// The route of one request. Its choices share it; only the first of them runs before it is decided. Owned by
// the scheduler thread.
class ExpertRoute {
 public:
  // `mixture` must outlive it. `expert` is that of kLabel. REQUIRES: the mixture's router has choices, unless
  // the decision is kLabel; prompt >= 1.
  ExpertRoute(const Mixture& mixture, Decision decision, int expert, int prompt);

  bool decided() const { return decided_; }
  // Returns whether, while it is undecided, the prompt runs on the base model, to be run again when the
  // decision has been made.
  bool on_base() const { return decision_ == Decision::kLast || decision_ == Decision::kVote; }

  // Returns whether the routers must see every token of the prompt, or the last one only.
  bool sees_all() const { return mixture_.pool() != RouterPool::kLast; }
  // Returns what has been decided, by the mixture's numbers: one expert, or one for each layer; empty until
  // then.
  std::vector<int> experts() const;

  // Returns what rows of the sequences use now: in all layers the same adapter, null for the base model; or,
  // where picks_by_layer(), one for each layer, and `adapter` is then any of the experts. by_layer() has the
  // layers' slots once it is decided and is empty until then: the probe of the step decides.
  const DeviceAdapter* adapter() const;
  bool picks_by_layer() const { return decision_ == Decision::kLayer; }
  std::span<const int32_t> by_layer() const { return by_layer_; }
  // Rows of one generation whose orders are equal use the same adapter in all layers, unless
  // picks_by_layer().
  int order() const;

  // Adds to `batch`, while it is undecided, the probe of what the routers must see of the prompt's positions
  // [first, first + rows), which stand in the batch from `row`. False where that is nothing.
  bool AddProbe(int first, int rows, int row, Batch* batch) const;
  // Takes what the last such probe found out. REQUIRES: undecided.
  void Saw(const Routed& routed);
  // Forgets what was seen: the prompt will be run again from its beginning. REQUIRES: undecided.
  void Restart();
  // Makes the decision: the last token of the prompt has run. REQUIRES: undecided.
  void Decide();

  // Returns what the client is told. REQUIRES: decided.
  RouteTaken taken() const;
  // Returns the share of the layers that use each expert, [experts]. REQUIRES: decided.
  std::vector<double> shares() const;
  // Returns the entropy of the layers' votes: 0 where all are for one expert, 1 where all that can be chosen
  // have the same number. nullopt where the routers had no say.
  std::optional<double> vote_entropy() const;

 private:
  const Mixture& mixture_;
  const Router& router_;
  const Decision decision_;
  const int prompt_;
  bool decided_;
  int expert_;                     // of all layers; -1: undecided, or by layer
  std::vector<double> sums_;       // [layers, choices] what the routers have seen so far
  std::vector<int> votes_;         // [layers] the expert that each router has picked
  std::vector<int32_t> by_layer_;  // [layers] slots, for kLayer
};

// Returns the expert that most votes are for, the lowest of equals. REQUIRES: not empty, every vote in [0,
// experts).
int Majority(const std::vector<int>& votes, int experts);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_SCHEDULER_EXPERT_ROUTE_H_
