#include "server/http/score_shape.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <numeric>

#include "server/http/json_text.h"

namespace hydrad {

void ScoreShape::Begin(const AnswerHead& head, const OutputStart&, int) {
  for (const int tokens : head.label_tokens)
    labels_.push_back({.tokens = static_cast<size_t>(tokens), .logprobs = {}});
}

size_t ScoreShape::Add(const OutputPiece& piece) {
  Label& label = labels_[static_cast<size_t>(piece.choice)];
  for (const Sampled& token : piece.logprobs) {
    if (label.logprobs.size() == label.tokens) break;  // what ends the choice is not the label's
    label.logprobs.push_back(token.logprob);
    label.sum += token.logprob;
  }
  return piece.logprobs.size() * sizeof(float);
}

std::string ScoreShape::Choices() {
  std::vector<size_t> order(labels_.size());
  std::iota(order.begin(), order.end(), 0);
  std::ranges::stable_sort(order, std::greater(), [&](size_t i) { return labels_[i].sum; });
  const double best = labels_[order.front()].sum;
  double all = 0;
  for (const Label& label : labels_) all += std::exp(label.sum - best);
  std::string out;
  for (const size_t i : order) {
    const Label& label = labels_[i];
    fmt::format_to(std::back_inserter(out), R"({}{{"index":{},"label":{},"logprob":)", out.empty() ? "" : ",",
                   i, Quoted(texts_[i]));
    AppendNumber(label.sum, &out);
    out += R"(,"mean_logprob":)";
    AppendNumber(label.sum / static_cast<double>(label.tokens), &out);
    out += R"(,"probability":)";
    AppendNumber(std::exp(label.sum - best) / all, &out);
    out += R"(,"token_logprobs":[)";
    for (size_t token = 0; token < label.logprobs.size(); ++token) {
      if (token > 0) out += ',';
      AppendNumber(label.logprobs[token], &out);
    }
    out += "]}";
  }
  return out;
}

}  // namespace hydrad
