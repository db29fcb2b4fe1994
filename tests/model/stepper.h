// Runs sequences through a model as the scheduler does, with its sequences and its batches, but by hand: a
// test says which sequences advance by how many tokens in which step.
#ifndef HYDRAD_TESTS_MODEL_STEPPER_H_
#define HYDRAD_TESTS_MODEL_STEPPER_H_

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "server/kv/block_pool.h"
#include "server/model/transformer.h"
#include "server/scheduler/sequence.h"

namespace hydrad {

// A further adapter of a sequence.
struct ComposedAdapter {
  const DeviceAdapter* adapter;
  float weight;
};

// The scheduler's part of a sequence that has run.
struct SteppedSequence {
  Request request;
  std::unique_ptr<EndTokens> end_tokens;
  std::unique_ptr<ExpertRoute> route;
  std::unique_ptr<Sequence> sequence;
};

// What is asked for. But for `adapter` and `continuation` it stands when the sequence has run. The pool of
// its blocks must outlive it.
struct TestSequence {
  std::vector<int32_t> tokens;  // the prompt
  const DeviceAdapter* adapter = nullptr;
  float weight = 1;                     // of `adapter`
  std::vector<ComposedAdapter> more{};  // after it
  int top_k = 0;
  std::vector<int32_t> invocation{};  // of `adapter`, if it is an aLoRA
  // Instead of `adapter`: one that picks its expert, and who does it.
  std::shared_ptr<const Mixture> mixture{};
  Decision decision = Decision::kVote;
  std::string expert{};
  std::vector<int32_t> continuation{};  // is taken as drawn when the prompt has run
  bool scored = true;  // the logits of every position are wanted; else: of what is drawn from

  std::unique_ptr<SteppedSequence> stepped{};
  int computed() const { return stepped ? stepped->sequence->computed() : 0; }
  // The prompt runs for the routers only, to be run again.
  bool routing() const { return stepped && stepped->sequence->routing(); }
};

// Gives the sequence's cache back: it starts again from its first token. One that has not run stays as it is.
void Preempt(TestSequence& sequence);

struct Chunk {
  TestSequence* sequence;
  int tokens;
};

// One step. Takes blocks from `pool` as they are needed. Returns the logits that the sequences want, in the
// order of the chunks. Gate records are numbered as BatchBuilder does. REQUIRES: blocks suffice.
std::vector<std::vector<float>> RunStep(Transformer& model, BlockPool& pool, std::span<const Chunk> chunks);

// Two steps of these chunks, the second one prepared while the first runs (Model::Prepare), without tokens.
// Or, where it is `dropped`, prepared, and the first step run again in its stead.
std::vector<std::vector<float>> RunPreparedSteps(Transformer& model, BlockPool& pool,
                                                 std::span<const Chunk> chunks, bool dropped);

}  // namespace hydrad

#endif  // HYDRAD_TESTS_MODEL_STEPPER_H_
