// Runs sequences through a model as the scheduler would, but by hand: a test says which sequences advance by
// how many tokens in which step.
#ifndef HYDRAD_TESTS_MODEL_STEPPER_H_
#define HYDRAD_TESTS_MODEL_STEPPER_H_

#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "server/model/kv_cache.h"
#include "server/model/transformer.h"

namespace hydrad {

// A further adapter of a sequence: weight and top_k are those of Batch::Run.
struct ComposedAdapter {
  const DeviceAdapter* adapter;
  float weight;
  int top_k = 0;
};

struct TestSequence {
  std::vector<int32_t> tokens;  // to be fed, prompt and continuation alike
  const DeviceAdapter* adapter = nullptr;
  int computed = 0;  // tokens whose K and V are in the cache
  std::vector<Block> blocks;
  float weight = 1;                                // of `adapter`
  std::vector<ComposedAdapter> more{};             // after it
  int top_k = 0;                                   // of `adapter`
  const DeviceAdapter* const* by_layer = nullptr;  // instead of `adapter`, see Batch::Run
  // What the routers are to see of `rows` rows that begin with row `row` of the batch, if set.
  std::function<std::optional<Batch::Probe>(int computed, int rows, int row)> probe = {};
  int adapter_begin = 0;  // first position that the adapters change
};

// Gives the sequence's cache back: it starts again from its first token.
void Preempt(TestSequence& sequence);

struct Chunk {
  TestSequence* sequence;
  int tokens;
};

// One step. Takes blocks from `pool` as they are needed. Returns the logits of every row of every chunk, in
// order. With `record_gates` every run keeps a record of its gates: the first run's is number 0.
// REQUIRES: chunks of one adapter are adjacent, blocks suffice.
std::vector<std::vector<float>> RunStep(Transformer& model, BlockPool& pool, std::span<const Chunk> chunks,
                                        bool record_gates = false);

}  // namespace hydrad

#endif  // HYDRAD_TESTS_MODEL_STEPPER_H_
