// The one form in which every adapter family is held (server/README.md, "Nouns"):
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

#include "kernels/lora.h"
#include "server/backend/tensor.h"

namespace hydrad {

// The linear layers of a transformer block; and the two that no block has, which stand in layer 0 here: the
// embedding, whose input is one-hot, so that A x is the token's column of A [rank, vocab], and lm_head.
enum class Projection : uint8_t { kQ, kK, kV, kO, kGate, kUp, kDown, kEmbedding, kHead };
inline constexpr int kLayerProjections = 7;
inline constexpr int kProjections = 9;
inline constexpr std::array<const char*, kProjections> kProjectionNames = {
    "q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj", "embed_tokens", "lm_head"};

// Projections of a block that read the same input, and so share one pass over it.
enum class ProjectionGroup : uint8_t { kQkv, kO, kGateUp, kDown };
inline constexpr int kProjectionGroups = 4;

// An adapter's change to one projection of one layer. `gate` (kernels/lora.h) says how c[t,e] is decided.
struct ProjectionWeights {
  int layer = 0;
  Projection projection = Projection::kQ;
  LoraGate gate;
  std::vector<HostMatrix> a;       // [rank, in]: one shared by all experts, or one per expert
  std::vector<HostMatrix> b;       // [out, rank], one per expert; ranks may differ
  std::vector<float> scale;        // per expert
  HostMatrix router;               // [experts, in], data null without a router
  HostMatrix threshold;            // [1, in], data null unless the gate's rule is kThreshold
  std::vector<float> router_bias;  // per expert, and then the threshold's; or empty
  std::vector<float> out_scale;    // [out] or empty: what base output and change together are multiplied by
  std::vector<float> out_bias;     // [out] or empty: added last
};

// Rows of the embedding or of lm_head that an adapter has in place of the base's, or beyond them.
struct TokenRows {
  std::vector<int32_t> tokens;  // the token of each row, in any order; empty: row i is token i's, for all
  HostMatrix rows;              // [tokens, hidden]; data null: the adapter has no rows of its own
  // How many tokens there are at this end with the adapter: 0 to vocab - 1. 0: as many as the base has. Where
  // there are more, every one of them has a row; where lm_head has fewer, the others are never drawn.
  int vocab = 0;
};

// Whether they make an end of the network another than the base's.
inline bool HasOwn(const TokenRows& own) { return own.rows.data != nullptr || own.vocab > 0; }

// A whole adapter in host memory. At most one entry per (layer, projection); shapes, finiteness and targets
// have been checked by the reader.
struct AdapterWeights {
  std::vector<ProjectionWeights> projections;
  TokenRows embedding, head;            // what a LoRA of the same matrix is added to
  std::shared_ptr<const void> storage;  // keeps every HostMatrix alive
};

// The sizes of the network that adapters are packed against.
struct AdapterShape {
  int layers, hidden, q_out, kv_out, ffn;
  int vocab = 0;
  bool tied = false;  // the embedding serves as lm_head too
  // Tokens beyond those of the base that an adapter may bring to the device (Backend::more_tokens). Where it
  // may bring none, it cannot have fewer than the base either.
  int more_tokens = 0;
};

// Tokens at an end of the network where an adapter has `own` rows.
inline int VocabOf(const TokenRows& own, const AdapterShape& shape) {
  return own.vocab > 0 ? own.vocab : shape.vocab;
}

// Whether the adapter changes the embedding or lm_head.
bool ChangesEnds(const AdapterWeights& weights);

// What decides how requests may use an adapter.
struct AdapterTraits {
  int experts = 1;      // most that a projection has
  bool routed = false;  // some projection picks or weighs its experts by a router
  bool top_k = true;    // ... and every router may be told to keep k; false without a router
  bool dense = false;   // ... and some router weighs all of them: with top_k it is approximated
  bool linear = true;   // its change may be weighted and added to others': no out_scale, no rows
                        // of its own
};
AdapterTraits TraitsOf(const AdapterWeights& weights);

// Where one routed projection's gates stand in a row of a gate record (Batch::Run::gates). Places are in the
// order of layers and projections, each after the one before.
struct GatePlace {
  int32_t layer;
  Projection projection;
  int32_t begin, experts;
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_BACKEND_ADAPTER_WEIGHTS_H_
