// The one form in which every adapter family is held (design.md section 2):
//
//   y_t = W x_t + b + sum over e of  c[t,e] * s_e * B_e (A_a(e) x_t)
//
// Readers of the file formats translate into this; nothing behind them knows a family's name.
#ifndef HYDRAD_SERVER_BACKEND_ADAPTER_WEIGHTS_H_
#define HYDRAD_SERVER_BACKEND_ADAPTER_WEIGHTS_H_

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "server/backend/tensor.h"

namespace hydrad {

// The linear layers of a transformer block.
enum class Projection : uint8_t { kQ, kK, kV, kO, kGate, kUp, kDown };
inline constexpr int kProjections = 7;
inline constexpr std::array<const char*, kProjections> kProjectionNames = {
    "q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"};

// Projections that read the same input, and so share one pass over it.
enum class ProjectionGroup : uint8_t { kQkv, kO, kGateUp, kDown };
inline constexpr int kProjectionGroups = 4;

// How c[t,e] is decided.
enum class Routing : uint8_t {
  kAll,      // 1 for every expert: LoRA, static sums
  kSoftmax,  // softmax in f32 of R x_t + router_bias over all experts: HydraLoRA, LoRAMoE
};

// An adapter's change to one projection of one layer.
struct ProjectionWeights {
  int layer = 0;
  Projection projection = Projection::kQ;
  Routing routing = Routing::kAll;
  std::vector<HostMatrix> a;       // [rank, in]: one shared by all experts, or one per expert
  std::vector<HostMatrix> b;       // [out, rank], one per expert
  std::vector<float> scale;        // per expert
  HostMatrix router;               // [experts, in], data null without a router
  std::vector<float> router_bias;  // per expert, or empty
};

// A whole adapter in host memory. At most one entry per (layer, projection); shapes, finiteness and targets
// have been checked by the reader.
struct AdapterWeights {
  std::vector<ProjectionWeights> projections;
  std::shared_ptr<const void> storage;  // keeps every HostMatrix alive
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_BACKEND_ADAPTER_WEIGHTS_H_
