#include "kernels/sampling_edits.h"

#include <algorithm>

namespace hydrad {

void ListEdits(const SampleRow& row, int vocab, std::vector<LogitEdit>* edits) {
  using Op = LogitEdit::Op;
  const SamplingParams& p = *row.params;
  const auto begin = static_cast<ptrdiff_t>(edits->size());
  const auto add = [&](int32_t token, Op op, float value) {
    if (token >= 0 && token < vocab && row.Allows(token)) edits->push_back({token, op, value, 0});
  };
  for (const SamplingParams::Bias& b : p.logit_bias) add(b.token, Op::kAdd, b.bias);
  std::vector<int32_t> seen;
  if (p.repetition_penalty != 1) {
    seen.assign(row.prompt.begin(), row.prompt.end());
    seen.insert(seen.end(), row.generated.begin(), row.generated.end());
    std::sort(seen.begin(), seen.end());
    seen.erase(std::unique(seen.begin(), seen.end()), seen.end());
    for (const int32_t t : seen) add(t, Op::kRepetition, p.repetition_penalty);
  }
  if (p.presence_penalty != 0 || p.frequency_penalty != 0) {
    seen.assign(row.generated.begin(), row.generated.end());
    std::sort(seen.begin(), seen.end());
    for (size_t i = 0, end = 0; i < seen.size(); i = end) {
      while (end < seen.size() && seen[end] == seen[i]) ++end;
      add(seen[i], Op::kAdd, -(p.presence_penalty + p.frequency_penalty * static_cast<float>(end - i)));
    }
  }
  for (const int32_t t : row.banned) add(t, Op::kBan, 0);
  std::stable_sort(edits->begin() + begin, edits->end(),
                   [](const LogitEdit& a, const LogitEdit& b) { return a.token < b.token; });
}

}  // namespace hydrad
