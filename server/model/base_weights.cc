#include "server/model/base_weights.h"

#include "server/backend/host_rows.h"
#include "server/base/invalid_argument.h"
#include "server/base/status_macros.h"
#include "server/model/model_directory.h"
#include "server/model/tensor_table.h"

namespace hydrad {

absl::StatusOr<std::unique_ptr<const BaseWeights>> BaseWeights::Open(const std::string& dir,
                                                                     const ModelConfig& config) {
  auto checkpoint = Checkpoint::Open(dir);
  if (!checkpoint.ok()) return ExplainModelDirectory(checkpoint.status(), dir);
  return std::unique_ptr<const BaseWeights>(new BaseWeights(*std::move(checkpoint), config));
}

BaseWeights::BaseWeights(std::unique_ptr<const Checkpoint> checkpoint, const ModelConfig& config)
    : checkpoint_(std::move(checkpoint)), tied_(config.tied_embeddings) {
  for (const TensorRow& row : GlobalTensors(config)) extents_[row.name] = {row.rows, row.cols};
  for (const TensorRow& row : LayerTensors(config)) {
    for (int layer = 0; layer < config.num_layers; ++layer) {
      extents_[TensorName(row, layer)] = {row.rows, row.cols};
    }
  }
}

absl::Status BaseWeights::Visit(std::string_view path, Checkpoint::Visitor visit) const {
  const bool shared = tied_ && path == "lm_head";
  const std::string name = std::string(shared ? "model.embed_tokens" : path) + ".weight";
  const auto found = extents_.find(name);
  if (found == extents_.end()) return InvalidArgument("the base model has no '{}'", name);
  return checkpoint_->Visit(name, found->second.first, found->second.second, visit);
}

absl::StatusOr<std::vector<float>> BaseWeights::Bias(std::string_view path) const {
  const std::string name = std::string(path) + ".bias";
  const auto found = extents_.find(name);
  if (found == extents_.end()) return std::vector<float>();
  ASSIGN_OR_RETURN(const OwnedMatrix matrix,
                   checkpoint_->Read(name, found->second.first, found->second.second));
  std::vector<float> bias(static_cast<size_t>(matrix.view.cols));
  CopyRows(matrix.view, 0, 1, bias.data());
  return bias;
}

}  // namespace hydrad
