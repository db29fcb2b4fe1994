// Every intermediate result of a step, allocated once for the largest step and narrowed to the one at hand.
#ifndef HYDRAD_SERVER_MODEL_ACTIVATIONS_H_
#define HYDRAD_SERVER_MODEL_ACTIVATIONS_H_

#include <absl/status/statusor.h>

#include <memory>

#include "server/backend/buffer.h"
#include "server/backend/tensor.h"
#include "server/model/model.h"

namespace hydrad {

class Backend;

// Owned by the scheduler thread. The tensors view `memory`.
struct Activations {
  // RESOURCE_EXHAUSTED when the device has no room.
  static absl::StatusOr<Activations> Allocate(Backend& backend, const ModelConfig& config,
                                              const ModelLimits& limits);

  // Makes the tensors as tall as the step. REQUIRES: within the limits of Allocate.
  void Narrow(int rows, int logit_rows);

  Tensor x;         // [rows, hidden]  the residual stream
  Tensor normed;    // [rows, hidden]
  Tensor qkv;       // [rows, q | k | v]
  Tensor q;         // columns of qkv
  Tensor attended;  // [rows, heads * head_dim]
  Tensor out;       // [rows, hidden]  of attention and feed-forward, before they join the stream
  Tensor gate_up;   // [rows, gate | up]
  Tensor hidden;    // [rows, ffn]
  Tensor last;      // [logit_rows, hidden]  the rows whose logits are wanted, after the last norm
  Tensor logits;    // [logit_rows, vocab], and room behind each row for Backend::more_tokens
  std::unique_ptr<Buffer> memory;
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_MODEL_ACTIVATIONS_H_
