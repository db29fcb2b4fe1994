// The row is edited in place (bias, penalties, bans) and what was there is remembered, so that the raw
// logits, which the log-probabilities speak of, come back without a copy of the row. Candidates are picked by
// threshold scans instead of sorting the vocabulary.
#include "kernels/sampling.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/philox.h"
#include "kernels/sampling_edits.h"
#include "kernels/simd/row_scan.h"

namespace hydrad {
namespace {

using simd::ExpSum;
using simd::MaxOrNan;

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kLargest = std::numeric_limits<float>::max();

// A total order even with ties: likelier first, then lower id.
bool Before(const TokenLogprob& a, const TokenLogprob& b) {
  return a.logprob != b.logprob ? a.logprob > b.logprob : a.token < b.token;
}

// The k largest logits in order, never one of -inf. One pass: a buffer of 2k + 64 candidates is cut to its
// best k whenever it is full, which raises the threshold that the rest must beat; ids ascend, so a tie never
// does.
std::vector<TokenLogprob> Largest(std::span<const float> logits, size_t k) {
  k = std::min(k, logits.size());
  std::vector<TokenLogprob> best;
  if (k == 0) return best;
  best.reserve(2 * k + 64);
  float threshold = -kInf;
  for (size_t i = 0; i < logits.size(); ++i) {
    if (!(logits[i] > threshold)) continue;
    best.push_back({static_cast<int32_t>(i), logits[i]});
    if (best.size() < 2 * k + 64) continue;
    std::nth_element(best.begin(), best.begin() + (k - 1), best.end(), Before);
    best.resize(k);
    threshold = best[k - 1].logprob;
  }
  std::sort(best.begin(), best.end(), Before);
  if (best.size() > k) best.resize(k);
  return best;
}

// Infinite logits are drawn as the largest float, so that differences between logits stay numbers.
void ClampInfinity(std::span<float> logits) {
  for (float& x : logits) x = std::min(x, kLargest);
}

// Whether only the largest logit can be drawn.
bool Greedy(const SamplingParams& p) { return p.temperature == 0 || p.top_k == 1; }

// Leaves -infinity in the place of every token that the row does not allow.
void Mask(std::span<float> logits, const SampleRow& row) {
  for (size_t i = 0; i < logits.size(); i += 32) {
    const uint32_t word = row.allowed[i / 32];
    if (word == ~uint32_t{0}) continue;
    const size_t end = std::min(logits.size(), i + 32);
    for (size_t j = i; j < end; ++j) {
      if ((word >> (j - i) & 1) == 0) logits[j] = -kInf;
    }
  }
}

// The edits of one row and the way back. Until Round the row has -inf where a token is edited.
class Edits {
 public:
  Edits(std::span<float> logits, const SampleRow& row) : logits_(logits) {
    ListEdits(row, static_cast<int>(logits.size()), &list_);
    const int end = static_cast<int>(list_.size());
    for (int i = 0; i < end; ++i) {
      if (!IsFirstEdit(list_.data(), 0, i)) continue;
      float& logit = logits_[list_[i].token];
      edited_.push_back({list_[i].token, logit, Edited(list_.data(), i, end, logit)});
      logit = -kInf;
    }
    for (const Token& t : edited_) max_ = std::max(max_, t.after);
  }

  bool empty() const { return edited_.empty(); }
  double max() const { return max_; }  // of the edited ones; -inf for none
  // The tokens that have it, ascending.
  std::vector<int32_t> Largest() const {
    std::vector<int32_t> tokens;
    for (const Token& t : edited_) {
      if (t.after == max_) tokens.push_back(t.token);
    }
    return tokens;
  }
  static float Rounded(double x) {
    return x == -kInf ? -kInf : static_cast<float>(std::clamp<double>(x, -kLargest, kLargest));
  }
  void Round() {
    for (const Token& t : edited_) logits_[t.token] = Rounded(t.after);
  }
  void Undo() {
    for (const Token& t : edited_) logits_[t.token] = t.before;
  }

 private:
  struct Token {
    int32_t token;
    float before;
    double after;
  };
  std::span<float> logits_;
  std::vector<LogitEdit> list_;
  std::vector<Token> edited_;  // ids ascend
  double max_ = -kInf;
};

// The first index whose running sum of `weight` passes u * total; the last positive one if rounding leaves
// none.
size_t Pick(std::span<const float> weight, double total, double u) {
  double sum = 0;
  size_t last = 0;
  for (size_t i = 0; i < weight.size(); ++i) {
    if (weight[i] <= 0) continue;
    last = i;
    if ((sum += weight[i]) > u * total) break;
  }
  return last;
}

// Weights exp((logit - max) / temperature) of sorted candidates; returns their sum.
double Weigh(const std::vector<TokenLogprob>& candidates, float max, float temperature,
             std::vector<float>& weight) {
  weight.resize(candidates.size());
  for (size_t i = 0; i < candidates.size(); ++i) weight[i] = candidates[i].logprob;
  return ExpSum(weight, max, temperature, weight);
}

// Length of the shortest prefix whose mass reaches `mass`, 0 if the whole does not.
size_t PrefixOfMass(std::span<const float> weight, double mass) {
  double sum = 0;
  for (size_t i = 0; i < weight.size(); ++i) {
    if ((sum += weight[i]) >= mass) return i + 1;
  }
  return 0;
}

// Draw among a sorted short list, when top_k asks for one.
int32_t DrawTopK(std::span<const float> logits, float max, const SamplingParams& p, double u) {
  std::vector<float> weight;
  const std::vector<TokenLogprob> list = Largest(logits, p.top_k);
  const double all = Weigh(list, max, p.temperature, weight);
  size_t kept = p.top_p < 1 ? PrefixOfMass(weight, p.top_p * all) : 0;
  if (kept == 0) kept = weight.size();
  while (kept > 1 && weight[kept - 1] < p.min_p) --kept;
  weight.resize(kept);
  double total = 0;
  for (float w : weight) total += w;
  return list[Pick(weight, total, u)].token;
}

// The least likely token of the smallest set whose mass reaches `mass`: a quickselect that weighs the
// likelier half instead of counting it. `set` is any superset; its order is lost.
TokenLogprob LastOfMass(std::vector<TokenLogprob>& set, double mass) {
  constexpr ptrdiff_t kShort = 32;
  auto begin = set.begin(), end = set.end();
  double before = 0;
  while (end - begin > kShort) {
    const auto middle = begin + (end - begin) / 2;
    std::nth_element(begin, middle, end, Before);
    double half = before;
    for (auto it = begin; it != middle; ++it) half += it->logprob;
    if (half >= mass) {
      end = middle;
    } else {
      begin = middle, before = half;
    }
  }
  std::sort(begin, end, Before);
  for (auto it = begin; it != end; ++it) {
    if ((before += it->logprob) >= mass) return *it;
  }
  return *(end - 1);
}

// Zeroes the weights outside the smallest set whose mass reaches top_p * total. Tokens lighter than an even
// share of the rest's mass cannot all together reach it, so they are never candidates: few are left of a
// usual row.
void KeepTopP(std::span<float> weight, float top_p, double total) {
  const double floor = (1 - double{top_p}) * total / static_cast<double>(weight.size());
  std::vector<TokenLogprob> set;
  for (size_t i = 0; i < weight.size(); ++i) {
    if (weight[i] >= floor) set.push_back({static_cast<int32_t>(i), weight[i]});
  }
  const TokenLogprob last = LastOfMass(set, top_p * total);
  for (size_t i = 0; i < weight.size(); ++i) {
    if (Before(last, {static_cast<int32_t>(i), weight[i]})) weight[i] = 0;
  }
}

int32_t DrawFromAll(std::span<const float> logits, float max, const SamplingParams& p, double u) {
  thread_local std::vector<float> weight;
  weight.resize(logits.size());
  double total = ExpSum(logits, max, p.temperature, weight);
  if (p.top_p < 1) KeepTopP(weight, p.top_p, total);
  if (p.top_p < 1 || p.min_p > 0) {
    total = 0;
    for (float& w : weight) total += w = w < p.min_p ? 0 : w;
  }
  return static_cast<int32_t>(Pick(weight, total, u));
}

// The largest logit, of equals the lower id. `plain` is the largest of those that are not edited.
int32_t DrawLargest(std::span<const float> logits, float plain, const Edits& edits) {
  if (edits.max() > plain) return edits.Largest()[0];
  const auto first = static_cast<int32_t>(std::find(logits.begin(), logits.end(), plain) - logits.begin());
  return edits.max() == plain ? std::min(first, edits.Largest()[0]) : first;
}

// Among tokens, in order of id, whose logit is so large that the others have no weight beside it.
int32_t DrawFromEqual(const std::vector<int32_t>& tokens, const SamplingParams& p, double u) {
  double kept = static_cast<double>(tokens.size());
  if (p.top_k > 0) kept = std::min<double>(kept, p.top_k);
  if (p.top_p < 1) kept = std::max(1.0, std::ceil(p.top_p * kept));
  return tokens[static_cast<size_t>(std::min(u * kept, kept - 1))];
}

// `largest` is the largest logit before the edits.
int32_t Draw(std::span<float> logits, float largest, Edits& edits, const SampleRow& row) {
  const SamplingParams& p = *row.params;
  const float plain = edits.empty() ? largest : MaxOrNan(logits);
  if (!(std::max<double>(plain, edits.max()) > -kInf)) return -1;
  if (Greedy(p)) return DrawLargest(logits, plain, edits);
  const double u = PhiloxUniform(row.seed, row.step);
  if (edits.max() >= plain && std::fabs(edits.max()) > kLargest) return DrawFromEqual(edits.Largest(), p, u);
  edits.Round();
  const float max = std::max(plain, Edits::Rounded(edits.max()));
  return p.top_k > 0 ? DrawTopK(logits, max, p, u) : DrawFromAll(logits, max, p, u);
}

// Log of the sum of exp(logits), in two parts so that differences keep their digits.
struct LogSum {
  float max;
  double log;
};

LogSum LogSumExp(std::span<const float> logits, float max) {
  thread_local std::vector<float> weight;
  weight.resize(logits.size());
  return {max, std::log(ExpSum(logits, max, 1, weight))};
}

float LogprobOf(float logit, const LogSum& sum) {
  return static_cast<float>(std::max<double>(double{logit} - sum.max - sum.log, -kLargest));
}

std::vector<TokenLogprob> TopLogprobs(std::span<const float> logits, const LogSum& sum, int top) {
  std::vector<TokenLogprob> best = Largest(logits, std::max(top, 0));
  for (TokenLogprob& t : best) t.logprob = LogprobOf(t.logprob, sum);
  return best;
}

}  // namespace

Sampled Sample(std::span<float> logits, const SampleRow& row) {
  Sampled result;
  float max = MaxOrNan(logits);
  if (!(max > -kInf)) return result;
  if (max == kInf) {
    ClampInfinity(logits);
    max = kLargest;
  }
  const bool masked = !row.allowed.empty();
  std::vector<float> raw;
  if (masked && row.top_logprobs >= 0) raw.assign(logits.begin(), logits.end());
  if (masked) Mask(logits, row);
  const float largest = masked ? MaxOrNan(logits) : max;
  Edits edits(logits, row);
  result.token = Draw(logits, largest, edits, row);
  if (result.token < 0 || row.top_logprobs < 0) return result;
  edits.Undo();
  if (masked) logits = raw;
  const LogSum sum = LogSumExp(logits, max);
  result.logprob = LogprobOf(logits[result.token], sum);
  result.top = TopLogprobs(logits, sum, row.top_logprobs);
  return result;
}

Sampled Score(std::span<const float> logits, int32_t token, int top) {
  Sampled result;
  const float max = MaxOrNan(logits);
  if (!(max > -kInf) || token < 0 || static_cast<size_t>(token) >= logits.size()) return result;
  if (max == kInf) {
    std::vector<float> finite(logits.begin(), logits.end());
    ClampInfinity(finite);
    return Score(finite, token, top);
  }
  const LogSum sum = LogSumExp(logits, max);
  result.token = token;
  result.logprob = LogprobOf(logits[token], sum);
  result.top = TopLogprobs(logits, sum, top);
  return result;
}

}  // namespace hydrad
