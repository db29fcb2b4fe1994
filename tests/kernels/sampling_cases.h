// Draws that a request may ask for, out of bytes, and whether an answer to one is right. What the numbers may
// be is asked of the validator, so that the two cannot drift apart.
#ifndef HYDRAD_TESTS_KERNELS_SAMPLING_CASES_H_
#define HYDRAD_TESTS_KERNELS_SAMPLING_CASES_H_

#include <cstdint>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "kernels/sampling.h"

namespace hydrad {

// Numbers out of a fuzzer's bytes, 0 when there are none left, or out of a seed without end.
class Choices {
 public:
  explicit Choices(std::span<const uint8_t> bytes) : bytes_(bytes) {}
  explicit Choices(uint64_t seed) : random_(seed), endless_(true) {}

  uint8_t Byte();
  uint64_t Word();
  int Below(int n) { return static_cast<int>(Word() % static_cast<uint64_t>(n)); }  // n >= 1
  bool OneIn(int n) { return Byte() % n == 0; }

 private:
  std::span<const uint8_t> bytes_;
  std::mt19937_64 random_;
  bool endless_ = false;
};

// One row and its draw. Moves but does not copy what row() points to.
struct SamplingCase {
  std::vector<float> logits;
  SamplingParams params;
  std::vector<int32_t> prompt, generated, banned;
  uint64_t seed = 0, step = 0;
  int top = -1;
  std::vector<uint32_t> allowed;

  SampleRow row() const { return {&params, prompt, generated, banned, seed, step, top, allowed}; }
};

// Fields at the ends of their ranges, next to them and anywhere between, or left out; logits of every shape,
// a NaN among them; everything, nothing or anything banned, or not allowed. REQUIRES: vocab >= 1.
SamplingCase MakeSamplingCase(Choices& choices, int vocab);

// What is wrong with `got` as the answer to the case; "" if nothing. The token is the definition's unless a
// rounding of floats decides which it is; log-probabilities are its to a few units.
std::string WrongWith(const Sampled& got, const SamplingCase& c);

// The case in words, for a failure.
std::string Describe(const SamplingCase& c);

}  // namespace hydrad

#endif  // HYDRAD_TESTS_KERNELS_SAMPLING_CASES_H_
