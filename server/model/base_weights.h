// The base model's matrices and biases as its files hold them: for the device, and for whoever reckons with
// them beside it, an adapter's norms (DoRA), biases and copies of base matrices.
#ifndef HYDRAD_SERVER_MODEL_BASE_WEIGHTS_H_
#define HYDRAD_SERVER_MODEL_BASE_WEIGHTS_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "server/model/checkpoint.h"
#include "server/model/model_config.h"

namespace hydrad {

// Modules go by their path: "model.layers.3.self_attn.q_proj", "model.embed_tokens", "lm_head".
//
// No copy is kept: what the device was loaded from is read again, and compared with the digests of then (see
// Checkpoint), which costs a load of a DoRA the reading of the matrices that it changes and keeps their
// memory for others. LoadTransformer has read every tensor, so that files which change once the daemon serves
// are FAILED_PRECONDITION to those who need them and nothing to the rest. Any thread may read.
class BaseWeights {
 public:
  // The files of `dir`. Errors of Checkpoint::Open, and what ExplainModelDirectory makes of them.
  static absl::StatusOr<std::unique_ptr<const BaseWeights>> Open(const std::string& dir,
                                                                 const ModelConfig& config);

  // Shows the matrix that the module multiplies by, that of the embedding for a tied lm_head: blocks of rows
  // as Checkpoint::Visit does. INVALID_ARGUMENT also for a path that the model does not have.
  absl::Status Visit(std::string_view path, Checkpoint::Visitor visit) const;
  // The module's bias; empty where it has none.
  absl::StatusOr<std::vector<float>> Bias(std::string_view path) const;

  const Checkpoint& checkpoint() const { return *checkpoint_; }

 private:
  BaseWeights(std::unique_ptr<const Checkpoint> checkpoint, const ModelConfig& config);

  const std::unique_ptr<const Checkpoint> checkpoint_;
  const bool tied_;
  std::map<std::string, std::pair<int, int>> extents_;  // {rows, cols} by tensor name
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_MODEL_BASE_WEIGHTS_H_
