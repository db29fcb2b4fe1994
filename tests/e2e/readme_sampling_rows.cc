// The sampling options, each against what the log-probabilities in the same answer say must be drawn.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "tests/e2e/readme_rows.h"

namespace hydrad {
namespace {

constexpr int kTokens = 40;
constexpr double kRounding = 1e-4;

// Draws at this temperature, always the same.
v1::GenerateRequest Drawing(float temperature) {
  v1::GenerateRequest request = RowRequest(kTokens);
  request.mutable_sampling()->set_temperature(temperature);
  request.mutable_sampling()->set_seed(7);
  return request;
}

// How many tokens were likelier than the one that was drawn; 20: at least so many.
int RankOf(const v1::Logprob& drawn) {
  int rank = 0;
  while (rank < drawn.top_size() && drawn.top(rank).token() != drawn.token().token()) ++rank;
  return rank;
}

int LargestRank(const v1::Chunk& choice) {
  int largest = 0;
  for (const v1::Logprob& drawn : choice.logprobs()) largest = std::max(largest, RankOf(drawn));
  return largest;
}

void Temperature(RowsDaemon& daemon) {
  EXPECT_EQ(LargestRank(daemon.AskOne(Drawing(0))), 0);
  EXPECT_EQ(LargestRank(daemon.AskOne(Drawing(0.001f))), 0);
  EXPECT_GT(LargestRank(daemon.AskOne(Drawing(1))), 0);
}

void TopK(RowsDaemon& daemon) {
  v1::GenerateRequest request = Drawing(3);
  EXPECT_GE(LargestRank(daemon.AskOne(request)), 3);
  request.mutable_sampling()->set_top_k(3);
  EXPECT_LT(LargestRank(daemon.AskOne(request)), 3);
  request.mutable_sampling()->set_top_k(1);
  EXPECT_EQ(LargestRank(daemon.AskOne(request)), 0);
}

// The largest mass of the tokens that were likelier than a drawn one.
double LargestMassBefore(const v1::Chunk& choice) {
  double largest = 0;
  for (const v1::Logprob& drawn : choice.logprobs()) {
    double mass = 0;
    for (int i = 0; i < RankOf(drawn); ++i) mass += std::exp(drawn.top(i).logprob());
    largest = std::max(largest, mass);
  }
  return largest;
}

void TopP(RowsDaemon& daemon) {
  v1::GenerateRequest request = Drawing(1);
  EXPECT_GT(LargestMassBefore(daemon.AskOne(request)), 0.5);
  request.mutable_sampling()->set_top_p(0.5);
  EXPECT_LT(LargestMassBefore(daemon.AskOne(request)), 0.5 + kRounding);
}

// The smallest probability of a drawn token, of the most likely one's.
double SmallestShare(const v1::Chunk& choice) {
  double smallest = 1;
  for (const v1::Logprob& drawn : choice.logprobs())
    smallest = std::min(smallest, std::exp(double{drawn.token().logprob()} - drawn.top(0).logprob()));
  return smallest;
}

void MinP(RowsDaemon& daemon) {
  v1::GenerateRequest request = Drawing(1);
  EXPECT_LT(SmallestShare(daemon.AskOne(request)), 0.3);
  request.mutable_sampling()->set_min_p(0.3f);
  EXPECT_GT(SmallestShare(daemon.AskOne(request)), 0.3 - kRounding);
}

// A greedy token is the largest of what is left of the log-probabilities when the penalties are taken off,
// unless it may be one that is not among those that are told.
void PresenceAndFrequency(RowsDaemon& daemon) {
  constexpr double kPresence = 1.5, kFrequency = 0.75;
  v1::GenerateRequest request = Drawing(0);
  const std::vector<int> plain = Ids(daemon.AskOne(request));
  request.mutable_sampling()->set_presence_penalty(kPresence);
  request.mutable_sampling()->set_frequency_penalty(kFrequency);
  const v1::Chunk choice = daemon.AskOne(request);
  EXPECT_NE(Ids(choice), plain);
  std::map<int, int> seen;
  int compared = 0;
  for (const v1::Logprob& drawn : choice.logprobs()) {
    const auto left = [&](const v1::TokenLogprob& t) {
      const auto count = seen.find(t.token());
      return count == seen.end() ? t.logprob() : t.logprob() - kPresence - kFrequency * count->second;
    };
    const auto best = std::ranges::max_element(drawn.top(), {}, left);
    if (left(*best) > drawn.top().rbegin()->logprob()) {
      EXPECT_EQ(drawn.token().token(), best->token()) << "token " << compared;
      ++compared;
    }
    ++seen[drawn.token().token()];
  }
  EXPECT_GT(compared, kTokens / 2);
}

size_t Distinct(std::vector<int> ids) {
  std::ranges::sort(ids);
  return static_cast<size_t>(std::unique(ids.begin(), ids.end()) - ids.begin());
}

void RepetitionPenalty(RowsDaemon& daemon) {
  v1::GenerateRequest request = Drawing(0);
  const std::vector<int> plain = Ids(daemon.AskOne(request));
  request.mutable_sampling()->set_repetition_penalty(1);
  EXPECT_EQ(Ids(daemon.AskOne(request)), plain);
  request.mutable_sampling()->set_repetition_penalty(2);
  EXPECT_GT(Distinct(Ids(daemon.AskOne(request))), Distinct(plain));
}

void LogitBias(RowsDaemon& daemon) {
  v1::GenerateRequest request = Drawing(0);
  const v1::Logprob first = daemon.AskOne(request).logprobs(0);
  (*request.mutable_sampling()->mutable_logit_bias())[first.token().token()] = -100;
  EXPECT_EQ(daemon.AskOne(request).token_ids(0), first.top(1).token());
  (*request.mutable_sampling()->mutable_logit_bias())[first.top(7).token()] = 100;
  EXPECT_THAT(Ids(daemon.AskOne(request)), testing::Each(first.top(7).token()));
}

void SeedAndN(RowsDaemon& daemon) {
  v1::GenerateRequest request = Drawing(1);
  const std::vector<int> once = Ids(daemon.AskOne(request));
  EXPECT_EQ(Ids(daemon.AskOne(request)), once);
  request.mutable_sampling()->set_n(3);
  const v1::GenerateResult three = daemon.Ask(request);
  ASSERT_EQ(three.choices_size(), 3);
  request.mutable_sampling()->set_n(1);
  for (int i = 0; i < 3; ++i) {
    request.mutable_sampling()->set_seed(7 + static_cast<uint64_t>(i));
    EXPECT_EQ(Ids(three.choices(i)), Ids(daemon.AskOne(request))) << "choice " << i;
  }
  EXPECT_NE(Ids(three.choices(1)), once);
}

void StopStrings(RowsDaemon& daemon) {
  v1::GenerateRequest request = Drawing(0);
  const std::string text = daemon.AskOne(request).text();
  ASSERT_GT(text.size(), 30u);
  const std::string stop = text.substr(20, 5);
  request.mutable_stopping()->add_stop("not in any text");
  request.mutable_stopping()->add_stop(stop);
  const v1::Chunk choice = daemon.AskOne(request);
  EXPECT_EQ(choice.text(), text.substr(0, text.find(stop)));
  EXPECT_EQ(choice.finish_reason(), v1::FINISH_REASON_STOP);
  EXPECT_EQ(choice.stop(), stop);
  EXPECT_LT(choice.token_ids_size(), kTokens);
}

void StopIdsAndMinTokens(RowsDaemon& daemon) {
  v1::GenerateRequest request = Drawing(0);
  std::vector<int> ids = Ids(daemon.AskOne(request));
  request.mutable_stopping()->add_stop_token_ids(ids[9]);
  v1::Chunk choice = daemon.AskOne(request);
  EXPECT_EQ(choice.finish_reason(), v1::FINISH_REASON_STOP);
  ids.erase(std::ranges::find(ids, ids[9]) + 1, ids.end());
  EXPECT_EQ(Ids(choice), ids);
  const int tokens = static_cast<int>(ids.size());
  request.mutable_stopping()->set_min_tokens(tokens + 5);
  choice = daemon.AskOne(request);
  EXPECT_GE(choice.token_ids_size(), tokens + 5);
  EXPECT_NE(choice.token_ids(tokens - 1), ids.back());
}

void MaxTokens(RowsDaemon& daemon) {
  v1::GenerateRequest request = Drawing(0);
  const std::vector<int> ids = Ids(daemon.AskOne(request));
  request.mutable_stopping()->set_max_tokens(7);
  const v1::GenerateResult result = daemon.Ask(request);
  EXPECT_EQ(Ids(result.choices(0)), std::vector<int>(ids.begin(), ids.begin() + 7));
  EXPECT_EQ(result.choices(0).finish_reason(), v1::FINISH_REASON_LENGTH);
  EXPECT_EQ(result.usage().generated_tokens(), 7);
}

void CheckLogprob(const v1::Logprob& logprob) {
  double mass = 0;
  for (int i = 0; i < logprob.top_size(); ++i) {
    mass += std::exp(logprob.top(i).logprob());
    if (i > 0) {
      EXPECT_LE(logprob.top(i).logprob(), logprob.top(i - 1).logprob());
    }
  }
  EXPECT_EQ(logprob.top_size(), 20);
  EXPECT_GT(mass, 0.2);
  EXPECT_LT(mass, 1 + kRounding);
}

// The prompt that is continued has the log-probabilities that its tokens had when they were drawn.
void Logprobs(RowsDaemon& daemon) {
  v1::GenerateRequest request = Drawing(1);
  request.mutable_output()->set_prompt_logprobs(20);
  const v1::GenerateResult first = daemon.Ask(request);
  const int prompt = first.start().prompt_tokens();
  ASSERT_EQ(first.start().prompt_logprobs_size(), prompt - 1);
  for (const v1::Logprob& logprob : first.start().prompt_logprobs()) CheckLogprob(logprob);
  for (const v1::Logprob& logprob : first.choices(0).logprobs()) CheckLogprob(logprob);
  v1::GenerateRequest again = request;
  again.clear_text();
  v1::TokenizeRequest text;
  text.set_text(request.text());
  v1::TokenizeResponse tokens;
  grpc::ClientContext context;
  ASSERT_TRUE(daemon.inference().Tokenize(&context, text, &tokens).ok());
  *again.mutable_token_ids()->mutable_ids() = tokens.token_ids();
  again.mutable_token_ids()->mutable_ids()->MergeFrom(first.choices(0).token_ids());
  const v1::GenerateResult second = daemon.Ask(again);
  ASSERT_EQ(second.start().prompt_logprobs_size(), prompt - 1 + kTokens);
  for (int i = 0; i < kTokens; ++i) {
    EXPECT_FLOAT_EQ(second.start().prompt_logprobs(prompt - 1 + i).token().logprob(),
                    first.choices(0).logprobs(i).token().logprob());
  }
}

}  // namespace

std::vector<ReadmeRow> SamplingRows() {
  return {{"sampling", "temperature", Temperature},
          {"sampling", "top_p", TopP},
          {"sampling", "top_k", TopK},
          {"sampling", "min_p", MinP},
          {"sampling", "presence and frequency penalties", PresenceAndFrequency},
          {"sampling", "repetition penalty", RepetitionPenalty},
          {"sampling", "logit_bias", LogitBias},
          {"sampling", "seed and n", SeedAndN},
          {"sampling", "stop strings", StopStrings},
          {"sampling", "stop ids and min_tokens", StopIdsAndMinTokens},
          {"sampling", "max_tokens", MaxTokens},
          {"sampling", "logprobs", Logprobs}};
}

}  // namespace hydrad
