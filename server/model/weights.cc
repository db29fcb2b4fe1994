#include "server/model/weights.h"

#include <set>

#include "server/backend/backend.h"
#include "server/backend/host_rows.h"
#include "server/base/log.h"
#include "server/base/status_macros.h"
#include "server/model/checkpoint.h"
#include "server/model/tensor_table.h"

namespace hydrad {
namespace {

// Loads what one table describes, for one layer of it.
class Loader {
 public:
  Loader(const Checkpoint& checkpoint, Backend& backend, const std::vector<TensorRow>& table, int layer)
      : checkpoint_(checkpoint), backend_(backend), table_(table), layer_(layer) {}

  // The matrix that `into` names, its parts stacked in the order of the table, with their biases.
  absl::Status Load(WeightId into, std::unique_ptr<Weight>& weight) const {
    std::vector<OwnedMatrix> read;
    std::vector<HostMatrix> parts;
    std::vector<float> bias;
    for (const TensorRow& row : table_) {
      if (row.into != into) continue;
      ASSIGN_OR_RETURN(OwnedMatrix matrix, Read(row));
      if (row.bias) {
        Append(matrix.view, bias);
      } else {
        parts.push_back(matrix.view);
        read.push_back(std::move(matrix));
      }
    }
    ASSIGN_OR_RETURN(weight, backend_.LoadWeight(parts, bias));
    return absl::OkStatus();
  }

  // The vector that `into` names; left null when the table has none.
  absl::Status Load(WeightId into, std::unique_ptr<Buffer>& vector) const {
    for (const TensorRow& row : table_) {
      if (row.into != into) continue;
      ASSIGN_OR_RETURN(const OwnedMatrix matrix, Read(row));
      std::vector<float> values;
      Append(matrix.view, values);
      ASSIGN_OR_RETURN(vector, backend_.LoadVector(values));
    }
    return absl::OkStatus();
  }

 private:
  absl::StatusOr<OwnedMatrix> Read(const TensorRow& row) const {
    return checkpoint_.Read(TensorName(row, layer_), row.rows, row.cols);
  }
  static void Append(const HostMatrix& matrix, std::vector<float>& values) {
    values.resize(values.size() + matrix.cols);
    CopyRows(matrix, 0, 1, values.data() + values.size() - matrix.cols);
  }

  const Checkpoint& checkpoint_;
  Backend& backend_;
  const std::vector<TensorRow>& table_;
  int layer_;
};

absl::StatusOr<LayerWeights> LoadLayer(const Loader& loader) {
  LayerWeights w;
  RETURN_IF_ERROR(loader.Load(WeightId::kAttentionNorm, w.attention_norm));
  RETURN_IF_ERROR(loader.Load(WeightId::kQkv, w.qkv));
  RETURN_IF_ERROR(loader.Load(WeightId::kQNorm, w.q_norm));
  RETURN_IF_ERROR(loader.Load(WeightId::kKNorm, w.k_norm));
  RETURN_IF_ERROR(loader.Load(WeightId::kO, w.o));
  RETURN_IF_ERROR(loader.Load(WeightId::kFfnNorm, w.ffn_norm));
  RETURN_IF_ERROR(loader.Load(WeightId::kGateUp, w.gate_up));
  RETURN_IF_ERROR(loader.Load(WeightId::kDown, w.down));
  return w;
}

void LogLeftOvers(const Checkpoint& checkpoint, const ModelConfig& config) {
  std::set<std::string, std::less<>> wanted;
  for (const TensorRow& row : GlobalTensors(config)) wanted.insert(row.name);
  for (const TensorRow& row : LayerTensors(config)) {
    for (int layer = 0; layer < config.num_layers; ++layer) wanted.insert(TensorName(row, layer));
  }
  int count = 0;
  std::string_view first;
  for (const std::string_view name : checkpoint.names()) {
    if (wanted.contains(name) || MayBeLeftOver(config, name)) continue;
    if (count++ == 0) first = name;
  }
  if (count > 0)
    Log()->warn("{}: {} tensors are not used, the first of them '{}'", checkpoint.dir(), count,
                std::string(first));
}

}  // namespace

absl::StatusOr<ModelWeights> LoadWeights(const Checkpoint& checkpoint, const ModelConfig& config,
                                         Backend& backend) {
  const std::vector<TensorRow> globals = GlobalTensors(config), of_layer = LayerTensors(config);
  ModelWeights weights;
  const Loader global(checkpoint, backend, globals, 0);
  RETURN_IF_ERROR(global.Load(WeightId::kEmbedding, weights.embedding));
  if (!config.tied_embeddings) RETURN_IF_ERROR(global.Load(WeightId::kLmHead, weights.lm_head));
  RETURN_IF_ERROR(global.Load(WeightId::kFinalNorm, weights.final_norm));
  for (int layer = 0; layer < config.num_layers; ++layer) {
    ASSIGN_OR_RETURN(LayerWeights loaded, LoadLayer(Loader(checkpoint, backend, of_layer, layer)));
    weights.layers.push_back(std::move(loaded));
  }
  LogLeftOvers(checkpoint, config);
  return weights;
}

}  // namespace hydrad
