// The base model's matrices and biases as its files hold them, for whoever reckons with them beside the
// device: an adapter's norms (DoRA), biases and copies of base matrices.
#ifndef HYDRAD_SERVER_MODEL_BASE_WEIGHTS_H_
#define HYDRAD_SERVER_MODEL_BASE_WEIGHTS_H_

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "server/backend/tensor.h"
#include "server/base/status.h"
#include "server/model/checkpoint.h"
#include "server/model/config.h"

namespace hydrad {

// Modules go by their path: "model.layers.3.self_attn.q_proj", "model.embed_tokens", "lm_head". The files
// stay mapped, so what is not asked for takes no memory, and a page that was read may be dropped again.
// Immutable; any thread may read.
class BaseWeights {
 public:
  // The files of `dir`, as LoadTransformer reads them. Errors of Checkpoint::Open.
  static absl::StatusOr<std::unique_ptr<const BaseWeights>> Open(const std::string& dir,
                                                                 const ModelConfig& config);

  // The matrix that the module multiplies by; that of the embedding for a tied lm_head. INVALID_ARGUMENT for
  // a path that the model does not have, and for what Checkpoint::Matrix refuses.
  absl::StatusOr<HostMatrix> Matrix(std::string_view path) const;
  // The module's bias; empty where it has none.
  absl::StatusOr<std::vector<float>> Bias(std::string_view path) const;

 private:
  BaseWeights(Checkpoint checkpoint, const ModelConfig& config);
  absl::StatusOr<HostMatrix> Find(const std::string& name) const;

  const Checkpoint checkpoint_;
  const bool tied_;
  std::map<std::string, std::pair<int, int>> extents_;  // {rows, cols} by tensor name
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_MODEL_BASE_WEIGHTS_H_
