#include "kernels/sampling.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/philox.h"

namespace hydrad::ref {
namespace {

constexpr double kInf = std::numeric_limits<double>::infinity();
constexpr float kLargest = std::numeric_limits<float>::max();

bool Contains(std::span<const int32_t> tokens, int32_t token) {
  return std::find(tokens.begin(), tokens.end(), token) != tokens.end();
}

double EditedLogit(double x, int32_t token, const SampleRow& row) {
  const SamplingParams& p = *row.params;
  for (const SamplingParams::Bias& b : p.logit_bias) {
    if (b.token == token) x += b.bias;
  }
  if (Contains(row.prompt, token) || Contains(row.generated, token))
    x = x > 0 ? x / p.repetition_penalty : x * p.repetition_penalty;
  const auto times = std::count(row.generated.begin(), row.generated.end(), token);
  if (times > 0) x -= p.presence_penalty + p.frequency_penalty * static_cast<float>(times);
  return Contains(row.banned, token) || !row.Allows(token) ? -kInf : x;
}

std::vector<double> RawLogits(std::span<const float> logits) {
  std::vector<double> raw;
  for (const float x : logits) {
    if (std::isnan(x)) return {};
    raw.push_back(std::min(x, kLargest));
  }
  return raw;
}

// Tokens with a logit above -infinity: largest first, of equals the lower id.
std::vector<int32_t> Sorted(const std::vector<double>& logits) {
  std::vector<int32_t> tokens;
  for (size_t i = 0; i < logits.size(); ++i) {
    if (logits[i] > -kInf) tokens.push_back(static_cast<int32_t>(i));
  }
  std::stable_sort(tokens.begin(), tokens.end(), [&](int32_t a, int32_t b) { return logits[a] > logits[b]; });
  return tokens;
}

// Of sorted `tokens`, those that top_k, top_p and min_p leave.
std::vector<int32_t> Kept(std::vector<int32_t> tokens, const std::vector<double>& weight,
                          const SamplingParams& p) {
  if (p.top_k > 0) tokens.resize(std::min<size_t>(tokens.size(), p.top_k));
  if (p.top_p < 1) {
    double total = 0, mass = 0;
    for (const int32_t t : tokens) total += weight[t];
    size_t count = 0;
    while (count < tokens.size() && (count == 0 || mass < p.top_p * total)) mass += weight[tokens[count++]];
    tokens.resize(count);
  }
  while (weight[tokens.back()] < p.min_p) tokens.pop_back();
  return tokens;
}

}  // namespace

std::vector<double> EditedLogits(std::span<const float> logits, const SampleRow& row) {
  std::vector<double> edited = RawLogits(logits);
  for (size_t i = 0; i < edited.size(); ++i) edited[i] = EditedLogit(edited[i], static_cast<int32_t>(i), row);
  return edited;
}

int32_t Draw(std::span<const float> logits, const SampleRow& row, double u) {
  const SamplingParams& p = *row.params;
  const std::vector<double> edited = EditedLogits(logits, row);
  std::vector<int32_t> tokens = Sorted(edited);
  if (tokens.empty()) return -1;
  const int32_t likeliest = tokens[0];
  if (p.temperature == 0) return likeliest;
  std::vector<double> weight;
  for (const double x : edited) weight.push_back(std::exp((x - edited[likeliest]) / p.temperature));
  tokens = Kept(std::move(tokens), weight, p);
  if (p.top_k == 0) std::sort(tokens.begin(), tokens.end());
  double total = 0, sum = 0;
  for (const int32_t t : tokens) total += weight[t];
  int32_t drawn = likeliest;
  for (const int32_t t : tokens) {
    if (weight[t] > 0) drawn = t;
    if ((sum += weight[t]) > u * total) break;
  }
  return drawn;
}

Sampled Sample(std::span<const float> logits, const SampleRow& row) {
  const int32_t token = Draw(logits, row, PhiloxUniform(row.seed, row.step));
  if (token < 0) return {};
  if (row.top_logprobs < 0) return {.token = token, .logprob = 0, .top = {}};
  return Score(logits, token, row.top_logprobs);
}

Sampled Score(std::span<const float> logits, int32_t token, int top) {
  const std::vector<double> raw = RawLogits(logits);
  std::vector<int32_t> tokens = Sorted(raw);
  if (tokens.empty() || token < 0 || static_cast<size_t>(token) >= raw.size()) return {};
  const double max = raw[tokens[0]];
  double sum = 0;
  for (const double x : raw) sum += std::exp(x - max);
  const auto logprob = [&](int32_t t) {
    return static_cast<float>(std::max<double>(raw[t] - max - std::log(sum), -kLargest));
  };
  Sampled result{.token = token, .logprob = logprob(token), .top = {}};
  tokens.resize(std::min<size_t>(tokens.size(), top));
  for (const int32_t t : tokens) result.top.push_back({t, logprob(t)});
  return result;
}

}  // namespace hydrad::ref
