#include "tests/model/adapters.h"

#include <deque>

namespace hydrad {
namespace {

struct Source {
  std::mt19937 random;
  float size;
  std::shared_ptr<std::deque<std::vector<float>>> storage;

  TokenRows Rows(const std::vector<int32_t>& tokens, const AdapterShape& shape) {
    if (tokens.empty()) return {};
    if (tokens.front() == kAllTokens) return {{}, Matrix(shape.vocab, shape.hidden)};
    return {tokens, Matrix(static_cast<int>(tokens.size()), shape.hidden)};
  }
  HostMatrix Matrix(int rows, int cols) {
    std::uniform_real_distribution<float> number(-size, size);
    std::vector<float>& values = storage->emplace_back(static_cast<size_t>(rows) * cols);
    for (float& value : values) value = number(random);
    return {values.data(), DType::kF32, rows, cols};
  }
  std::vector<float> Vector(int length, float low, float high) {
    std::uniform_real_distribution<float> number(low, high);
    std::vector<float> values(length);
    for (float& value : values) value = number(random);
    return values;
  }
};

int InputOf(Projection projection, const AdapterShape& shape) {
  if (projection == Projection::kO) return shape.q_out;
  if (projection == Projection::kEmbedding) return shape.vocab;
  return projection == Projection::kDown ? shape.ffn : shape.hidden;
}

int OutputOf(Projection projection, const AdapterShape& shape) {
  switch (projection) {
    case Projection::kQ:
      return shape.q_out;
    case Projection::kK:
    case Projection::kV:
      return shape.kv_out;
    case Projection::kGate:
    case Projection::kUp:
      return shape.ffn;
    case Projection::kHead:
      return shape.vocab;
    default:
      return shape.hidden;
  }
}

}  // namespace

std::vector<Projection> AllProjections() {
  std::vector<Projection> all;
  for (int p = 0; p < kLayerProjections; ++p) all.push_back(static_cast<Projection>(p));
  return all;
}

AdapterWeights RandomAdapter(uint32_t seed, const AdapterShape& shape, const RandomAdapterOptions& options) {
  Source source{std::mt19937(seed), options.size, std::make_shared<std::deque<std::vector<float>>>()};
  AdapterWeights weights;
  for (int layer = 0; layer < shape.layers; ++layer) {
    for (const Projection projection : options.targets) {
      if (projection >= Projection::kEmbedding && layer > 0) continue;
      const int in = InputOf(projection, shape), out = OutputOf(projection, shape);
      ProjectionWeights p;
      p.layer = layer;
      p.projection = projection;
      p.gate = options.gate;
      const auto rank = [&](int e) { return options.ranks.empty() ? options.rank : options.ranks[e]; };
      const int matrices_a = options.shared_a ? 1 : options.experts;
      for (int i = 0; i < matrices_a; ++i) p.a.push_back(source.Matrix(rank(i), in));
      for (int e = 0; e < options.experts; ++e) {
        p.b.push_back(source.Matrix(out, rank(e)));
        p.scale.push_back(0.5f + 0.25f * static_cast<float>(e));
      }
      if (options.gate.rule != GateRule::kNone) p.router = source.Matrix(options.experts, in);
      if (options.gate.rule == GateRule::kThreshold) p.threshold = source.Matrix(1, in);
      if (options.router_bias) p.router_bias.assign(RouterRows(options.gate, options.experts), 0.1f);
      if (options.out_scale) p.out_scale = source.Vector(out, 0.5f, 1.5f);
      if (options.out_bias) p.out_bias = source.Vector(out, -options.size, options.size);
      weights.projections.push_back(std::move(p));
    }
  }
  weights.embedding = source.Rows(options.embedding_tokens, shape);
  weights.head = source.Rows(options.head_tokens, shape);
  weights.storage = source.storage;
  return weights;
}

}  // namespace hydrad
