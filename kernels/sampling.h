// From one row of logits to one token, and to log-probabilities. Every function is pure but for what it
// writes into its arguments, and may be called by any number of threads.
#ifndef HYDRAD_KERNELS_SAMPLING_H_
#define HYDRAD_KERNELS_SAMPLING_H_

#include <cstdint>
#include <span>
#include <vector>

namespace hydrad {

// Applied in this order, to the tokens that a row allows: logit_bias, penalties, temperature, top_k, top_p,
// min_p. The defaults change nothing but draw from the plain softmax; temperature 0 is greedy (largest logit,
// ties to the lower id), and so is top_k 1. Every finite value in the stated ranges has an answer, denormal
// ones too.
struct SamplingParams {
  float temperature = 1;         // 0..
  float top_p = 1;               // (0, 1]: smallest set of most likely tokens whose mass reaches top_p
  int top_k = 0;                 // 0: off
  float min_p = 0;               // [0, 1]: drop tokens below min_p times the largest probability
  float repetition_penalty = 1;  // (0, ..; arXiv 1909.05858, over prompt and generated tokens
  float presence_penalty = 0;    // over generated tokens
  float frequency_penalty = 0;   // over generated tokens
  struct Bias {
    int32_t token;
    float bias;
  };
  std::vector<Bias> logit_bias;
};

// What a draw may look at. The draw is a pure function of these values: a counter-based generator keyed by
// (seed, step), so a sequence that is preempted and computed again draws the same tokens.
struct SampleRow {
  const SamplingParams* params;
  std::span<const int32_t> prompt;
  std::span<const int32_t> generated;
  std::span<const int32_t> banned;  // tokens that may not be drawn (end tokens below min_tokens)
  uint64_t seed;
  uint64_t step;     // number of tokens generated so far
  int top_logprobs;  // -1: no log-probabilities, 0: of the drawn token, k: also of the k most likely
  // Bit t % 32 of word t / 32 says whether token t may be drawn at all; before everything else that picks.
  // There is a bit for every token of the vocabulary, and what bits lie beyond it means nothing. Empty: all
  // may. Log-probabilities are those of all tokens nevertheless.
  std::span<const uint32_t> allowed{};

  bool Allows(int32_t token) const {
    return allowed.empty() || (allowed[static_cast<size_t>(token) / 32] >> (token % 32) & 1) != 0;
  }
};
// Words of a mask over so many tokens.
constexpr size_t MaskWords(int vocab) { return (static_cast<size_t>(vocab) + 31) / 32; }

// A token and the natural logarithm of its probability.
struct TokenLogprob {
  int32_t token;
  float logprob;
};

// What a draw or a score gives. It owns its list.
struct Sampled {
  int32_t token = -1;             // -1: the logits held a NaN or nothing that may be drawn; nothing was
  float logprob = 0;              // log softmax of the raw logits at `token`; the least float for log 0
  std::vector<TokenLogprob> top;  // most likely first
};

// Draws from logits [vocab], which it may overwrite. A logit of +infinity counts as the largest float.
//
// What the edits make of a logit is compared in double where only the largest one can be drawn, and is
// rounded to float where weights are to be drawn from: a token whose weight is not 0 by the definition has
// one. Deterministic. Runs on the calling thread.
Sampled Sample(std::span<float> logits, const SampleRow& row);

// Log softmax of `logits` at `token` and the `top` most likely, for prompt log-probabilities. Token -1 where
// there is a NaN, no finite value, or no such token.
Sampled Score(std::span<const float> logits, int32_t token, int top);

// The definition: all in double, everything sorted. What Sample and Score on any device are tested against.
namespace ref {
// The logits as the draw sees them; -infinity: never drawn. Empty when there is a NaN.
std::vector<double> EditedLogits(std::span<const float> logits, const SampleRow& row);
// The token at u in [0, 1) of the distribution, in order of id, with a top_k in sorted order; -1 as Sample.
int32_t Draw(std::span<const float> logits, const SampleRow& row, double u);
Sampled Sample(std::span<const float> logits, const SampleRow& row);
Sampled Score(std::span<const float> logits, int32_t token, int top);
}  // namespace ref

}  // namespace hydrad

#endif  // HYDRAD_KERNELS_SAMPLING_H_
