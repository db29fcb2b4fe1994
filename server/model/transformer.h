// The network of the Llama family, written once and device-blind. Read Layer() in transformer.cc first.
#ifndef HYDRAD_SERVER_MODEL_TRANSFORMER_H_
#define HYDRAD_SERVER_MODEL_TRANSFORMER_H_

#include <absl/status/statusor.h>

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "server/backend/adapter_weights.h"
#include "server/backend/buffer.h"
#include "server/backend/step.h"
#include "server/backend/tensor.h"
#include "server/model/activations.h"
#include "server/model/base_weights.h"
#include "server/model/model.h"
#include "server/model/weights.h"

namespace hydrad {

class Backend;

// The keys and values of every layer, in one piece of device memory.
struct KvCache {
  std::unique_ptr<Buffer> memory;
  std::vector<KvCacheView> layers;
};

// A loaded base model. Made by LoadTransformer; owned by the scheduler thread, as Model says.
class Transformer : public Model {
 public:
  Transformer(Backend& backend, const ModelConfig& config, const ModelLimits& limits, ModelWeights weights,
              Activations activations, KvCache cache);

  const ModelConfig& config() const override { return config_; }
  const ModelLimits& limits() const override { return limits_; }
  bool asynchronous() const override;
  void Prepare(const Batch& batch) override;

  // A batch outside the limits ends the process: it would write over another sequence's cache.
  Step Launch(const Batch& batch, std::span<const Draw> draws, std::span<const ScoreRow> scores) override;

  // The logits [vocab] of logit_rows[index] as they are, of the last step, where it has not drawn from them.
  // Valid until the next call.
  std::span<const float> Logits(int index);

 protected:
  absl::StatusOr<StepResult> Finish() override;

 private:
  void Forward(const Batch& batch);
  void Network(const Batch& batch);
  void Layer(int layer, const LayerWeights& w, bool routes);
  void Project(Tensor y, Tensor x, const Weight& weight, int layer, ProjectionGroup group);
  Tensor LogitRows(int begin, int count) const;
  void CheckBatch(const Batch& batch) const;
  void CheckTokens(const Batch& batch) const;

  Backend& backend_;
  const ModelConfig config_;
  const ModelLimits limits_;
  const ModelWeights weights_;
  Activations a_;
  const KvCache cache_;
  const std::vector<double> inv_freq_;  // [head_dim / 2]
  const float attention_scale_;
  std::vector<float> host_logits_;  // [vocab]  one row, for Logits

  const Batch* prepared_ = nullptr;  // for the next step; null: none is

  // Of the last step.
  std::vector<Sampled> sampled_, scores_;
  std::vector<std::span<const float>> gates_;
  std::vector<Routed> routes_;
};

// Loads `dir` (config.json, *.safetensors with or without an index) onto `backend`, which must outlive the
// model, and takes the KV cache and activations for `limits`. Zero fields of `limits` are filled in:
// max_context with all that the config allows (its positions, or its sliding window where that is shorter),
// kv_blocks with one sequence's. Errors: INVALID_ARGUMENT naming file and field or tensor, also for a
// max_context beyond what the config allows; NOT_FOUND without the files; RESOURCE_EXHAUSTED. The model's
// limits() say how many KV blocks it has got.
absl::StatusOr<std::unique_ptr<Transformer>> LoadTransformer(const std::string& dir, Backend& backend,
                                                             ModelLimits limits);
// Likewise from files that the caller has opened and may read on from.
absl::StatusOr<std::unique_ptr<Transformer>> LoadTransformer(const BaseWeights& base,
                                                             const ModelConfig& config, Backend& backend,
                                                             ModelLimits limits);

// Bytes of KV cache per block, over all layers, of this configuration, in Backend::kv_type().
size_t KvBlockBytes(const ModelConfig& config, const ModelLimits& limits, DType type);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_MODEL_TRANSFORMER_H_
