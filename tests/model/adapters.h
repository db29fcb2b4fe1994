// Random adapters in memory, for tests that want any adapter and no file.
#ifndef HYDRAD_TESTS_MODEL_ADAPTERS_H_
#define HYDRAD_TESTS_MODEL_ADAPTERS_H_

#include <memory>
#include <random>
#include <vector>

#include "server/backend/adapter_weights.h"
#include "server/backend/backend.h"

namespace hydrad {

std::vector<Projection> AllProjections();

inline constexpr int32_t kAllTokens = -1;

// `targets` that are no projection of a layer are given once.
struct RandomAdapterOptions {
  int rank = 4;
  int experts = 1;
  bool shared_a = false;
  LoraGate gate{};
  bool router_bias = false;
  std::vector<Projection> targets = AllProjections();
  std::vector<int> ranks{};  // of each expert, if they differ
  bool out_scale = false, out_bias = false;
  // Rows of its own of the embedding and of lm_head: of these tokens, or of all where there are kAllTokens.
  std::vector<int32_t> embedding_tokens{}, head_tokens{};
  float size = 0.3f;  // of every factor's numbers: large enough that a wrong adapter shows in the logits
};

// The same seed gives the same adapter. Owns its matrices through AdapterWeights::storage.
AdapterWeights RandomAdapter(uint32_t seed, const AdapterShape& shape, const RandomAdapterOptions& options);

}  // namespace hydrad

#endif  // HYDRAD_TESTS_MODEL_ADAPTERS_H_
