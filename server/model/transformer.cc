#include "server/model/transformer.h"

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "server/backend/backend.h"
#include "server/base/check.h"
#include "server/base/invalid_argument.h"
#include "server/base/status_macros.h"

namespace hydrad {
namespace {

bool Within(const std::vector<int32_t>& values, int64_t end) {
  return std::ranges::all_of(values, [end](int32_t value) { return value >= 0 && value < end; });
}

}  // namespace

Transformer::Transformer(Backend& backend, const ModelConfig& config, const ModelLimits& limits,
                         ModelWeights weights, Activations activations, KvCache cache)
    : backend_(backend),
      config_(config),
      limits_(limits),
      weights_(std::move(weights)),
      a_(std::move(activations)),
      cache_(std::move(cache)),
      inv_freq_(InverseFrequencies(config)),
      attention_scale_(static_cast<float>(1 / std::sqrt(static_cast<double>(config.head_dim)))),
      host_logits_(config.vocab_size) {}

bool Transformer::asynchronous() const { return backend_.asynchronous(); }

Step Transformer::Launch(const Batch& batch, std::span<const Draw> draws, std::span<const ScoreRow> scores) {
  if (std::exchange(prepared_, nullptr) != &batch) CheckBatch(batch);
  CheckTokens(batch);
  Forward(batch);
  sampled_.assign(draws.size(), {});
  scores_.assign(scores.size(), {});
  if (!draws.empty() || !scores.empty()) backend_.Sample(a_.logits, draws, scores, sampled_, scores_);
  gates_.resize(static_cast<size_t>(
      std::ranges::count_if(batch.runs, [](const Batch::Run& run) { return run.gates >= 0; })));
  routes_.resize(batch.probes.size());
  return Step(*this);
}

void Transformer::Prepare(const Batch& batch) {
  CheckBatch(batch);
  prepared_ = &batch;
  backend_.PrepareStep(batch);
}

absl::StatusOr<StepResult> Transformer::Finish() {
  RETURN_IF_ERROR(backend_.FinishStep());
  for (size_t i = 0; i < gates_.size(); ++i) gates_[i] = backend_.Gates(static_cast<int>(i));
  for (size_t i = 0; i < routes_.size(); ++i) routes_[i] = backend_.Routes(static_cast<int>(i));
  return StepResult{.sampled = sampled_, .scores = scores_, .gates = gates_, .routes = routes_};
}

void Transformer::Forward(const Batch& batch) {
  const int rows = backend_.PaddedRows(batch), logit_rows = static_cast<int>(batch.logit_rows.size());
  a_.Narrow(rows, logit_rows == batch.rows() ? rows : logit_rows);
  backend_.BeginStep(batch, inv_freq_);
  backend_.RunStep([&] { Network(batch); });
  a_.Narrow(batch.rows(), logit_rows);
}

// Every op of a step, in order. Which ones and on which tensors depends on the form of the batch alone.
void Transformer::Network(const Batch& batch) {
  backend_.Embed(a_.x, *weights_.embedding);
  backend_.AdaptEmbedding(a_.x);
  const bool routes = !batch.probes.empty();
  for (int layer = 0; layer < config_.num_layers; ++layer) Layer(layer, weights_.layers[layer], routes);
  if (batch.logit_rows.empty()) return;
  backend_.Add(a_.x, a_.out);
  backend_.RmsNormRows(a_.last, a_.x, batch.logit_rows, *weights_.final_norm, config_.norm_eps);
  backend_.Gemm(a_.logits, a_.last, weights_.output());
  backend_.AdaptHead(a_.logits, a_.last);
}

std::span<const float> Transformer::Logits(int index) {
  backend_.ReadBack(LogitRows(index, 1), host_logits_);
  return host_logits_;
}

// One block of the network: attention, then the feed-forward. What each adds to the residual stream joins it
// in the next norm, so that the stream is read and written once. `routes`: routers of adapters look at it.
void Transformer::Layer(int layer, const LayerWeights& w, bool routes) {
  if (layer == 0) {
    backend_.RmsNorm(a_.normed, a_.x, *w.attention_norm, config_.norm_eps);
  } else {
    backend_.AddRmsNorm(a_.normed, a_.x, a_.out, *w.attention_norm, config_.norm_eps);
  }
  if (routes) backend_.Route(a_.x, layer);
  Project(a_.qkv, a_.normed, *w.qkv, layer, ProjectionGroup::kQkv);
  backend_.RopeAndWriteKv(a_.qkv, {w.q_norm.get(), w.k_norm.get(), config_.norm_eps}, cache_.layers[layer]);
  backend_.Attend(a_.attended, a_.q, cache_.layers[layer], attention_scale_);
  Project(a_.out, a_.attended, *w.o, layer, ProjectionGroup::kO);

  backend_.AddRmsNorm(a_.normed, a_.x, a_.out, *w.ffn_norm, config_.norm_eps);
  Project(a_.gate_up, a_.normed, *w.gate_up, layer, ProjectionGroup::kGateUp);
  backend_.SiluMul(a_.hidden, a_.gate_up);
  Project(a_.out, a_.hidden, *w.down, layer, ProjectionGroup::kDown);
}

// y = x W^T + bias + what the adapter of each row adds.
void Transformer::Project(Tensor y, Tensor x, const Weight& weight, int layer, ProjectionGroup group) {
  backend_.Gemm(y, x, weight);
  backend_.AddLora(y, x, layer, group);
}

Tensor Transformer::LogitRows(int begin, int count) const {
  HYDRAD_CHECK(begin >= 0 && begin + count <= a_.logits.rows);
  return a_.logits.Rows(begin, count);
}

void Transformer::CheckTokens(const Batch& batch) const {
  HYDRAD_CHECK(KnowsTokens(backend_.device_adapters(), batch, config_.vocab_size));
}

// A row outside the limits would write over another sequence's cache: better to stop than to mix tenants.
void Transformer::CheckBatch(const Batch& batch) const {
  const size_t rows = batch.tokens.size();
  HYDRAD_CHECK(rows > 0 && rows <= static_cast<size_t>(limits_.max_rows));
  HYDRAD_CHECK(batch.positions.size() == rows && batch.slots.size() == rows);
  HYDRAD_CHECK(batch.logit_rows.size() <= static_cast<size_t>(limits_.max_logit_rows));
  HYDRAD_CHECK(Within(batch.logit_rows, static_cast<int64_t>(rows)));
  HYDRAD_CHECK(Within(batch.positions, limits_.max_context));
  HYDRAD_CHECK(Within(batch.slots, int64_t{limits_.kv_blocks} * limits_.block_size));
  HYDRAD_CHECK(Within(batch.block_tables, limits_.kv_blocks));
}

namespace {

// One layer's keys (or values), rounded up so that every layer begins on a cache line.
size_t KvSideBytes(const ModelConfig& config, const ModelLimits& limits, DType type) {
  const size_t row = static_cast<size_t>(config.num_kv_heads) * config.head_dim;
  return (BytesOf(static_cast<size_t>(limits.kv_blocks) * limits.block_size * row, type) + 63) / 64 * 64;
}

absl::StatusOr<KvCache> AllocateCache(Backend& backend, const ModelConfig& config,
                                      const ModelLimits& limits) {
  const DType type = backend.kv_type();
  const size_t side = KvSideBytes(config, limits, type);
  KvCache cache;
  ASSIGN_OR_RETURN(cache.memory, backend.Allocate(2 * side * config.num_layers));
  std::byte* next = static_cast<std::byte*>(cache.memory->data());
  const int rows = limits.kv_blocks * config.num_kv_heads * limits.block_size;
  for (int layer = 0; layer < config.num_layers; ++layer, next += 2 * side) {
    const Tensor k{next, type, rows, config.head_dim, config.head_dim};
    const Tensor v{next + side, type, rows, config.head_dim, config.head_dim};
    cache.layers.push_back({k, v, limits.block_size, config.num_kv_heads, config.head_dim});
  }
  return cache;
}

// As many blocks as are asked for, or as the device has room for once all else is there.
void FitCache(const Backend& backend, const ModelConfig& config, ModelLimits& limits) {
  const std::optional<size_t> free = backend.free_bytes();
  if (!free || limits.min_kv_blocks == 0) return;
  const size_t padding = 128 * static_cast<size_t>(config.num_layers);  // of every layer's two sides
  const size_t room = (*free - std::min(*free, padding)) / KvBlockBytes(config, limits, backend.kv_type());
  if (room < static_cast<size_t>(limits.kv_blocks)) {
    limits.kv_blocks = std::max(limits.min_kv_blocks, static_cast<int>(room));
  }
}

absl::StatusOr<ModelLimits> FillIn(ModelLimits limits, const ModelConfig& config, const std::string& dir) {
  const bool windowed = config.sliding_window > 0;
  const int allowed = windowed ? config.sliding_window : config.max_positions;
  if (limits.max_context == 0) limits.max_context = allowed;
  if (limits.max_context > allowed) {
    return InvalidArgument("{}/config.json: {} {} is less than a context of {}", dir,
                           windowed ? "sliding_window" : "max_position_embeddings", allowed,
                           limits.max_context);
  }
  if (limits.max_context < 1 || limits.block_size < 1 || limits.max_rows < 1 || limits.max_logit_rows < 1) {
    return InvalidArgument("limits of the model must be at least 1");
  }
  if (limits.kv_blocks == 0)
    limits.kv_blocks = (limits.max_context + limits.block_size - 1) / limits.block_size;
  const int most = INT32_MAX / (limits.block_size * config.num_kv_heads);
  if (limits.min_kv_blocks > 0) limits.kv_blocks = std::min(limits.kv_blocks, most);
  if (limits.kv_blocks < 1 || limits.kv_blocks > most) {
    return InvalidArgument("{} KV blocks are not within 1 to {}", limits.kv_blocks, most);
  }
  return limits;
}

}  // namespace

size_t KvBlockBytes(const ModelConfig& config, const ModelLimits& limits, DType type) {
  const size_t row = static_cast<size_t>(config.num_kv_heads) * config.head_dim;
  return 2 * BytesOf(row * limits.block_size, type) * config.num_layers;
}

absl::StatusOr<std::unique_ptr<Transformer>> LoadTransformer(const std::string& dir, Backend& backend,
                                                             ModelLimits limits) {
  ASSIGN_OR_RETURN(const ModelConfig config, LoadModelConfig(dir));
  ASSIGN_OR_RETURN(const auto base, BaseWeights::Open(dir, config));
  return LoadTransformer(*base, config, backend, limits);
}

absl::StatusOr<std::unique_ptr<Transformer>> LoadTransformer(const BaseWeights& base,
                                                             const ModelConfig& config, Backend& backend,
                                                             ModelLimits limits) {
  ASSIGN_OR_RETURN(limits, FillIn(limits, config, base.checkpoint().dir()));
  RETURN_IF_ERROR(backend.Reserve({.max_rows = limits.max_rows,
                                   .max_logit_rows = limits.max_logit_rows,
                                   .max_context = limits.max_context,
                                   .block_size = limits.block_size,
                                   .layers = config.num_layers,
                                   .heads = config.num_heads,
                                   .kv_heads = config.num_kv_heads,
                                   .head_dim = config.head_dim}));
  ASSIGN_OR_RETURN(ModelWeights weights, LoadWeights(base.checkpoint(), config, backend));
  ASSIGN_OR_RETURN(Activations activations, Activations::Allocate(backend, config, limits));
  FitCache(backend, config, limits);
  ASSIGN_OR_RETURN(KvCache cache, AllocateCache(backend, config, limits));
  return std::make_unique<Transformer>(backend, config, limits, std::move(weights), std::move(activations),
                                       std::move(cache));
}

}  // namespace hydrad
