#include "server/model/base_weights.h"

#include "server/backend/host_rows.h"
#include "server/model/tensor_table.h"

namespace hydrad {

absl::StatusOr<std::unique_ptr<const BaseWeights>> BaseWeights::Open(const std::string& dir,
                                                                     const ModelConfig& config) {
  ASSIGN_OR_RETURN(Checkpoint checkpoint, Checkpoint::Open(dir));
  return std::unique_ptr<const BaseWeights>(new BaseWeights(std::move(checkpoint), config));
}

BaseWeights::BaseWeights(Checkpoint checkpoint, const ModelConfig& config)
    : checkpoint_(std::move(checkpoint)), tied_(config.tied_embeddings) {
  for (const TensorRow& row : GlobalTensors(config)) extents_[row.name] = {row.rows, row.cols};
  for (const TensorRow& row : LayerTensors(config)) {
    for (int layer = 0; layer < config.num_layers; ++layer) {
      extents_[TensorName(row, layer)] = {row.rows, row.cols};
    }
  }
}

absl::StatusOr<HostMatrix> BaseWeights::Find(const std::string& name) const {
  const auto found = extents_.find(name);
  if (found == extents_.end()) return InvalidArgument("the base model has no '{}'", name);
  return checkpoint_.Matrix(name, found->second.first, found->second.second);
}

absl::StatusOr<HostMatrix> BaseWeights::Matrix(std::string_view path) const {
  const bool shared = tied_ && path == "lm_head";
  return Find(std::string(shared ? "model.embed_tokens" : path) + ".weight");
}

absl::StatusOr<std::vector<float>> BaseWeights::Bias(std::string_view path) const {
  const std::string name = std::string(path) + ".bias";
  if (!extents_.contains(name)) return std::vector<float>();
  ASSIGN_OR_RETURN(const HostMatrix matrix, Find(name));
  std::vector<float> bias(static_cast<size_t>(matrix.cols));
  CopyRows(matrix, 0, 1, bias.data());
  return bias;
}

}  // namespace hydrad
