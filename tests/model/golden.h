// The golden cases of tests/golden (its README tells the fields) and the check of a model against one.
#ifndef HYDRAD_TESTS_MODEL_GOLDEN_H_
#define HYDRAD_TESTS_MODEL_GOLDEN_H_

#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "server/backend/expert_router.h"
#include "server/model/transformer.h"
#include "tests/model/stepper.h"

namespace hydrad {

// One logit that the reference has computed.
struct GoldenLogit {
  int position, token;
  float value;
};

struct GoldenPrompt {
  std::vector<int32_t> ids;
  std::vector<int32_t> greedy;  // the reference's greedy continuation
  std::vector<float> margins;   // its lead over the second best, per token
  float f32_bound;              // what a run may be off from the logits, see CheckGolden
  float bf16_error;  // what transformers' bf16 run is off from its f32 run, which the logits are of
  float bf16_bound;  // what a bf16 run may be off
  std::vector<GoldenLogit> logits;
  std::vector<int> route;  // of an MoA, the expert of every layer
  std::string text;        // that `ids` were made of; "": drawn as ids
};

struct GoldenCase {
  std::string name, model;            // model's directory
  std::vector<std::string> adapters;  // directories; several are composed with `weights`
  std::vector<float> weights;         // [adapters]
  int top_k = 0;                      // that the request asks for
  std::vector<GoldenPrompt> prompts;
  std::optional<Decision> decision;  // of an MoA
  int label = 0;                     // and its expert for kLabel
};

// The names of all cases of tests/golden/cases without (or with) an adapter, of the small models (or of
// SmolLM2), so that a new case is compared without anybody listing it. Left out: MoA, whose cases are the
// other list's.
std::vector<std::string> GoldenNames(bool adapter, bool smollm2);
std::vector<std::string> MoaGoldenNames();

// Fails the test and ends the process's case when a file is missing: a golden that is not compared is no
// golden.
GoldenCase LoadGolden(const std::string& name);

// Compares every stored logit of the case, and the greedy token wherever its margin exceeds twice the bound
// (each of the two logits may be off by one bound). `positions` caps the prompt and its continuation.
//
// The bound is
// - with f32 weights eight times the error of transformers' f32 run, at most 1e-3: two runs that sum in other
// orders;
// - with bf16 weights the error of transformers' own bf16 run on the prompt. One run is one draw of
// roundings: where float64 with no more of them than such a model forces (RoundedReference of reference.py)
// is further off already, its error and the bound of f32. `adapters` are those of the case, loaded. With
// `invocation` they count from the last place in the prompt where these tokens begin.
void CheckGolden(const GoldenCase& golden, Transformer& model, std::span<const DeviceAdapter* const> adapters,
                 bool bf16, int positions, std::span<const int32_t> invocation = {});
// Likewise; `adapt` says by what the prompt's sequence is adapted.
using Adapt = std::function<void(const GoldenPrompt& prompt, TestSequence& sequence)>;
void CheckGolden(const GoldenCase& golden, Transformer& model, const Adapt& adapt, bool bf16, int positions);
// By the case's `adapters` and `invocation` as above; all three must outlive what is returned.
Adapt AdaptBy(const GoldenCase& golden, std::span<const DeviceAdapter* const> adapters,
              std::span<const int32_t> invocation);

// The default model's directory: HYDRAD_MODEL_DIR where it is set, else build/models/smollm2.
std::string Smollm2Dir();
// The case's model directory.
std::string ModelDir(const GoldenCase& golden);

// Loads the case's model onto a CPU backend of that weight type and checks it without an adapter.
void CheckBaseGolden(const std::string& name, DType weight_type);

}  // namespace hydrad

#endif  // HYDRAD_TESTS_MODEL_GOLDEN_H_
