// The base model's weights on the device.
#ifndef HYDRAD_SERVER_MODEL_WEIGHTS_H_
#define HYDRAD_SERVER_MODEL_WEIGHTS_H_

#include <absl/status/statusor.h>

#include <memory>
#include <vector>

#include "server/backend/buffer.h"
#include "server/model/checkpoint.h"
#include "server/model/model_config.h"

namespace hydrad {

class Backend;

struct LayerWeights {
  std::unique_ptr<Buffer> attention_norm;  // [hidden]
  std::unique_ptr<Weight> qkv;             // [q_out + 2 kv_out, hidden]
  std::unique_ptr<Buffer> q_norm, k_norm;  // [head_dim], null without qk-norm
  std::unique_ptr<Weight> o;               // [hidden, q_out]
  std::unique_ptr<Buffer> ffn_norm;        // [hidden]
  std::unique_ptr<Weight> gate_up;         // [2 ffn, hidden]
  std::unique_ptr<Weight> down;            // [hidden, ffn]
};

// Immutable after LoadWeights.
struct ModelWeights {
  std::unique_ptr<Weight> embedding;   // [vocab, hidden]
  std::unique_ptr<Weight> lm_head;     // [vocab, hidden], null when the embedding serves as both
  std::unique_ptr<Buffer> final_norm;  // [hidden]
  std::vector<LayerWeights> layers;

  const Weight& output() const { return lm_head ? *lm_head : *embedding; }
};

// Reads the tensors of tensor_table.h, all of them, and holds no more of them beside the device's copy than
// the parts of one matrix. Tensors that nobody asked for are logged, not refused. Errors are those of
// Checkpoint and of the backend, and name file and tensor.
absl::StatusOr<ModelWeights> LoadWeights(const Checkpoint& checkpoint, const ModelConfig& config,
                                         Backend& backend);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_MODEL_WEIGHTS_H_
