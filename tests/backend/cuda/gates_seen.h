// What the routers of an adapter said to every row of a run of the network, and which experts they picked.
#ifndef HYDRAD_TESTS_BACKEND_CUDA_GATES_SEEN_H_
#define HYDRAD_TESTS_BACKEND_CUDA_GATES_SEEN_H_

#include <vector>

#include "server/backend/backend.h"

namespace hydrad {

// The routers of `weights` alone, for a run of weight 0 beside the adapter's own, which changes nothing. Its
// gates weigh all of a router's rows and one more of zeros, so that the weights that they record tell the
// logits. Keeps what `weights` points to alive.
AdapterWeights RoutersOf(const AdapterWeights& weights);

// One routed projection in one row.
struct GateSeen {
  std::vector<float> logits;  // [experts], and the threshold's
  std::vector<bool> picked;   // [experts]; empty where the gate's weights know no jump
};

// The row's routed projections in the order of its adapter's gate_places(), from a row of the adapter's own
// record and of that of RoutersOf. `top_k` is that of the adapter's run.
std::vector<GateSeen> GatesOfRow(const AdapterWeights& weights, int top_k, const DeviceAdapter& adapter,
                                 const float* record, const DeviceAdapter& routers,
                                 const float* routers_record);

// Whether no expert that was left out has a larger logit than one that was picked, but for the rounding of
// the weights that the logits are worked out from.
bool PickedLargest(const GateSeen& seen);

// Adds to the bias of the projection's router, of every expert.
void AddToBias(AdapterWeights& weights, const GatePlace& place, const std::vector<float>& change);

}  // namespace hydrad

#endif  // HYDRAD_TESTS_BACKEND_CUDA_GATES_SEEN_H_
