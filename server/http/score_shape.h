// The answer of POST /v1/score.
#ifndef HYDRAD_SERVER_HTTP_SCORE_SHAPE_H_
#define HYDRAD_SERVER_HTTP_SCORE_SHAPE_H_

#include <string>
#include <utility>
#include <vector>

#include "server/http/answer_shape.h"

namespace hydrad {

// One choice for each label, the likeliest first: its place in the request, its text, its log-probability and
// those of its tokens, their mean, and its probability among the labels.
class ScoreShape final : public AnswerShape {
 public:
  explicit ScoreShape(std::vector<std::string> labels) : texts_(std::move(labels)) {}

  std::string_view id_prefix() const override { return "score-"; }
  std::string_view object(bool) const override { return "score"; }
  void Begin(const AnswerHead& head, const OutputStart& start, int first_index) override;
  // Scores come whole only.
  std::string First() override { return ""; }
  std::string Delta(const OutputPiece&) override { return ""; }
  size_t Add(const OutputPiece& piece) override;
  std::string Choices() override;

 private:
  struct Label {
    size_t tokens = 0;            // it has
    std::vector<float> logprobs;  // of its tokens so far
    double sum = 0;
  };

  const std::vector<std::string> texts_;  // [labels]
  std::vector<Label> labels_;
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_HTTP_SCORE_SHAPE_H_
