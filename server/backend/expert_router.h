// How an adapter that holds several experts picks one for a whole sequence (MoA, arXiv 2403.03432).
#ifndef HYDRAD_SERVER_BACKEND_EXPERT_ROUTER_H_
#define HYDRAD_SERVER_BACKEND_EXPERT_ROUTER_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "server/backend/adapter_weights.h"

namespace hydrad {

class Buffer;
class DeviceAdapter;

// Whose input the routers read: the residual stream before each layer's first norm, at the last token of the
// prompt or as its mean over the prompt.
enum class RouterPool : uint8_t { kLast, kMean };

// Who chooses the expert of a sequence. Names are those of the file format and of the API.
enum class Decision : uint8_t {
  kLabel,  // "label": the client names it
  kLast,   // "last": the router of the last layer, on the base model
  kVote,   // "vote": most of the routers, the lower expert of equals, on the base model
  kLayer,  // "layer": each layer's router for its own layer, the layers below adapted by their choice
};
const char* Name(Decision decision);
std::optional<Decision> ParseDecision(std::string_view name);

// One expert in host memory.
struct ExpertWeights {
  std::string name;
  AdapterWeights weights;
  std::vector<float> router;       // [layers, hidden] its row of each layer's router; empty: label only
  std::vector<float> router_bias;  // [layers], or empty for 0
};

// The routers of one adapter, for the experts that have a row in them. Immutable; whoever holds it keeps rows
// and experts alive.
struct Router {
  int layers = 0;
  std::vector<const Buffer*> rows;            // [choices] [layers, hidden] f32 each, on the device
  std::vector<float> bias;                    // [layers, choices]
  std::vector<const DeviceAdapter*> experts;  // [choices]

  int choices() const { return static_cast<int>(rows.size()); }
  // The choice of `layer` whose mean over `pooled` rows plus bias is the largest: the first of equals, and a
  // NaN never wins. `sums` is that of kernels/router.h, [choices].
  int Pick(int layer, const double* sums, int pooled) const;
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_BACKEND_EXPERT_ROUTER_H_
