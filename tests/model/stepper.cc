#include "tests/model/stepper.h"

#include <algorithm>
#include <climits>
#include <map>
#include <utility>

#include "server/base/check.h"
#include "server/scheduler/batch_builder.h"
#include "tests/fakes/fake_claim.h"
#include "tests/fakes/test_tokenizer.h"

namespace hydrad {
namespace {

// The text is nobody's.
const Tokenizer& AnyTokenizer() {
  static const auto* const tokenizer = MakeTestTokenizer().release();
  return *tokenizer;
}

AdapterHandle HandleOn(const DeviceAdapter* adapter, std::vector<int32_t> invocation = {}) {
  if (adapter == nullptr) return AdapterHandle();
  auto generation = std::make_shared<AdapterGeneration>();
  generation->device = std::shared_ptr<const DeviceAdapter>(std::shared_ptr<void>(), adapter);  // not owned
  generation->invocation = std::move(invocation);
  return HandleOn(std::move(generation));
}

AdapterHandle HandleOn(std::shared_ptr<const Mixture> mixture) {
  auto generation = std::make_shared<AdapterGeneration>();
  generation->mixture = std::move(mixture);
  return HandleOn(std::move(generation));
}

Request RequestOf(const TestSequence& s) {
  Request request;
  request.prompt = s.tokens;
  request.stopping.max_tokens = INT_MAX;
  request.output.prompt_logprobs = s.scored ? 0 : -1;
  request.adapter = s.mixture != nullptr ? HandleOn(s.mixture) : HandleOn(s.adapter, s.invocation);
  request.adapter_weight = s.weight;
  for (const ComposedAdapter& more : s.more)
    request.composed.push_back({HandleOn(more.adapter), more.weight});
  request.adapter_top_k = s.top_k;
  request.expert = s.expert;
  if (s.mixture != nullptr) request.decision = s.decision;
  return request;
}

void Prepare(TestSequence& s) {
  s.stepped = std::make_unique<SteppedSequence>(SteppedSequence{RequestOf(s), nullptr, nullptr, nullptr});
  SteppedSequence& stepped = *s.stepped;
  HYDRAD_CHECK(stepped.request.BindAdapters());
  auto route = MakeRoute(stepped.request, INT_MAX);
  HYDRAD_CHECK(route.ok());
  stepped.route = *std::move(route);
  stepped.end_tokens =
      std::make_unique<EndTokens>(stepped.request.stopping, std::span<const int32_t>(), /*formed=*/false);
  stepped.sequence = std::make_unique<Sequence>(0, stepped.request, *stepped.end_tokens, 0, AnyTokenizer());
  stepped.sequence->set_route(stepped.route.get());
}

// Makes it ready to run `rows` tokens.
BatchBuilder::Part PartOf(TestSequence& s, int rows, int block_size, BlockPool& pool) {
  if (s.stepped == nullptr) Prepare(s);
  Request& request = s.stepped->request;
  Sequence& sequence = *s.stepped->sequence;
  if (s.mixture == nullptr && request.adapter.device() != s.adapter) {
    request.adapter = HandleOn(s.adapter, s.invocation);
    HYDRAD_CHECK(request.BindAdapters());
  }
  if (sequence.state() == Sequence::State::kWaiting) sequence.Start();
  while (!sequence.routing() && sequence.length() - sequence.computed() < rows) {
    Sampled drawn{.token = s.continuation.at(sequence.generated().size()), .top = {}};
    sequence.Absorb({&drawn, 1});
  }
  HYDRAD_CHECK(sequence.Reserve(rows, block_size, pool));
  return {&sequence, rows, 0};
}

// Numbers the generations by their first part, as AdapterUse does.
void NumberAdapters(std::span<BatchBuilder::Part> parts) {
  std::map<const void*, uint64_t> orders;
  for (BatchBuilder::Part& part : parts) {
    if (part.sequence->adapted_by().adapter == nullptr) continue;
    const void* weights = part.sequence->request().adapter.weights();
    part.adapter_order = orders.try_emplace(weights, orders.size() + 1).first->second;
  }
}

}  // namespace

void Preempt(TestSequence& sequence) {
  if (sequence.stepped && sequence.stepped->sequence->state() == Sequence::State::kRunning)
    sequence.stepped->sequence->Preempt();
}

namespace {

// What a step gives is in the model.
void TakeLogits(Transformer& model, const BatchBuilder& builder, std::span<const Chunk> chunks,
                std::vector<std::vector<float>>* logits) {
  const auto uses = builder.logit_uses();
  for (const Chunk& chunk : chunks) {
    for (size_t i = 0; i < uses.size(); ++i) {
      if (uses[i].sequence != chunk.sequence->stepped->sequence.get()) continue;
      const std::span<const float> values = model.Logits(static_cast<int>(i));
      logits->emplace_back(values.begin(), values.end());
    }
  }
}

void Build(BatchBuilder& builder, std::vector<BatchBuilder::Part> parts) {
  NumberAdapters(parts);
  builder.Build(parts);
}

}  // namespace

std::vector<std::vector<float>> RunStep(Transformer& model, BlockPool& pool, std::span<const Chunk> chunks) {
  const int block_size = model.limits().block_size;
  BatchBuilder builder(block_size);
  std::vector<BatchBuilder::Part> parts;
  for (const Chunk& chunk : chunks) parts.push_back(PartOf(*chunk.sequence, chunk.tokens, block_size, pool));
  Build(builder, parts);
  const auto result = model.Launch(builder.batch(), {}, {}).Wait();
  HYDRAD_CHECK(result.ok());
  for (size_t i = 0; i < builder.probed().size(); ++i) builder.probed()[i]->Saw(result->routes[i]);
  for (const Chunk& chunk : chunks) chunk.sequence->stepped->sequence->Advance(chunk.tokens);
  std::vector<std::vector<float>> logits;
  TakeLogits(model, builder, chunks, &logits);
  return logits;
}

std::vector<std::vector<float>> RunPreparedSteps(Transformer& model, BlockPool& pool,
                                                 std::span<const Chunk> chunks, bool dropped) {
  const int block_size = model.limits().block_size;
  BatchBuilder first(block_size), second(block_size);
  std::vector<BatchBuilder::Part> parts, ahead;
  for (const Chunk& chunk : chunks) {
    const int tokens = chunk.tokens;
    parts.push_back(PartOf(*chunk.sequence, tokens, block_size, pool));
    HYDRAD_CHECK(parts.back().sequence->Reserve(2 * tokens, block_size, pool));
    ahead.push_back({parts.back().sequence, tokens, 0, tokens});
  }
  Build(first, parts);
  Build(second, ahead);
  Batch next = second.batch();
  std::ranges::fill(next.tokens, 0);

  std::vector<std::vector<float>> logits;
  Step step = model.Launch(first.batch(), {}, {});
  model.Prepare(next);
  HYDRAD_CHECK(step.Wait().ok());
  TakeLogits(model, first, chunks, &logits);
  next.tokens = second.batch().tokens;
  HYDRAD_CHECK(model.Launch(dropped ? first.batch() : next, {}, {}).Wait().ok());
  TakeLogits(model, dropped ? first : second, chunks, &logits);
  for (const Chunk& chunk : chunks) {
    chunk.sequence->stepped->sequence->Advance((dropped ? 1 : 2) * chunk.tokens);
  }
  return logits;
}

}  // namespace hydrad
