#include "server/http/score_shape.h"

#include <gtest/gtest.h>

#include <cmath>

#include "server/base/json.h"

namespace hydrad {
namespace {

OutputPiece Piece(int choice, std::vector<float> logprobs) {
  OutputPiece piece;
  piece.choice = choice;
  for (const float logprob : logprobs) piece.logprobs.push_back({.token = 1, .logprob = logprob, .top = {}});
  return piece;
}

TEST(ScoreShapeTest, TheLikeliestFirst) {
  ScoreShape shape({"a", "b\"", "c"});
  AnswerHead head;
  head.choices = 3;
  head.label_tokens = {2, 1, 1};
  shape.Begin(head, {}, 0);
  shape.Add(Piece(0, {-1}));
  shape.Add(Piece(1, {-0.5f, -9}));  // the last one ends the choice
  shape.Add(Piece(2, {-2.5f}));
  EXPECT_GT(shape.Add(Piece(0, {-2})), 0u);
  const Json choices = Json::parse("[" + shape.Choices() + "]");
  ASSERT_EQ(choices.size(), 3u);
  const double all = std::exp(-0.5) + std::exp(-2.5) + std::exp(-3);
  const auto expect = [&](size_t place, int index, const char* label, double logprob, double mean,
                          const Json& tokens) {
    const Json& choice = choices[place];
    EXPECT_EQ(choice["index"], index);
    EXPECT_EQ(choice["label"], label);
    EXPECT_EQ(choice["logprob"], logprob);
    EXPECT_EQ(choice["mean_logprob"], mean);
    EXPECT_NEAR(choice["probability"].get<double>(), std::exp(logprob) / all, 1e-12);
    EXPECT_EQ(choice["token_logprobs"], tokens);
  };
  expect(0, 1, "b\"", -0.5, -0.5, {-0.5});
  expect(1, 2, "c", -2.5, -2.5, {-2.5});
  expect(2, 0, "a", -3, -1.5, {-1, -2});
}

// Where every label is beyond what a double can hold as a probability, they still have one among themselves.
TEST(ScoreShapeTest, UnlikelyLabelsAreComparedToo) {
  ScoreShape shape({"a", "b"});
  AnswerHead head;
  head.label_tokens = {1, 1};
  shape.Begin(head, {}, 0);
  shape.Add(Piece(0, {-10000}));
  shape.Add(Piece(1, {-10000}));
  for (const Json& choice : Json::parse("[" + shape.Choices() + "]")) EXPECT_EQ(choice["probability"], 0.5);
}

}  // namespace
}  // namespace hydrad
