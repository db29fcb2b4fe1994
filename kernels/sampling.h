// From one row of logits to one token.
#ifndef HYDRAD_KERNELS_SAMPLING_H_
#define HYDRAD_KERNELS_SAMPLING_H_

#include <cstdint>
#include <span>
#include <vector>

namespace hydrad {

// Applied in this order: logit_bias, penalties, temperature, top_k, top_p, min_p. The defaults change nothing
// but draw from the plain softmax; temperature 0 is greedy (largest logit, ties to the lower id).
struct SamplingParams {
  float temperature = 1;         // 0..
  float top_p = 1;               // (0, 1]: smallest set of most likely tokens whose mass reaches top_p
  int top_k = 0;                 // 0: off
  float min_p = 0;               // [0, 1]: drop tokens below min_p times the largest probability
  float repetition_penalty = 1;  // arXiv 1909.05858, over prompt and generated tokens
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
};

struct TokenLogprob {
  int32_t token;
  float logprob;
};

struct Sampled {
  int32_t token = -1;             // -1: the logits held a NaN or no finite value; nothing was drawn
  float logprob = 0;              // log softmax of the raw logits at `token`
  std::vector<TokenLogprob> top;  // most likely first
};

// Draws from logits [vocab], which it may overwrite. Deterministic. Runs on the calling thread.
Sampled Sample(std::span<float> logits, const SampleRow& row);

// Log softmax of `logits` at `token` and the `top` most likely, for prompt log-probabilities.
Sampled Score(std::span<const float> logits, int32_t token, int top);

}  // namespace hydrad

#endif  // HYDRAD_KERNELS_SAMPLING_H_
