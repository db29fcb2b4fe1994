#include "client/bench/load_plan.h"

#include <gtest/gtest.h>

#include <cmath>

namespace hydrad {
namespace {

TEST(ParsePrompts, TextAndJsonLines) {
  const auto prompts = ParsePrompts(
      "plain text\r\n\n{\"prompt\": \"two\\nlines\", \"adapter\": \"a\", \"max_tokens\": 7}\nlast");
  ASSERT_TRUE(prompts.ok()) << prompts.status();
  ASSERT_EQ(prompts->size(), 3);
  EXPECT_EQ((*prompts)[0].text, "plain text");
  EXPECT_FALSE((*prompts)[0].adapter.has_value());
  EXPECT_EQ((*prompts)[1].text, "two\nlines");
  EXPECT_EQ((*prompts)[1].adapter, "a");
  EXPECT_EQ((*prompts)[1].max_tokens, 7);
  EXPECT_EQ((*prompts)[2].text, "last");
}

TEST(ParsePrompts, ErrorsNameTheLine) {
  for (const char* bad : {"{\"prompt\": 3}", "{\"prompt\": \"a\", \"max_tokens\": 0}",
                          "{\"prompt\": \"a\", \"max_tokens\": 3000000000}",
                          "{\"prompt\": \"a\", \"adaptor\": \"x\"}", "{\"adapter\": \"a\"}", "{not json"}) {
    const auto prompts = ParsePrompts(std::string("fine\n") + bad);
    ASSERT_EQ(prompts.status().code(), absl::StatusCode::kInvalidArgument) << bad;
    EXPECT_EQ(std::string(prompts.status().message()).rfind("line 2: ", 0), 0) << prompts.status();
  }
  EXPECT_FALSE(ParsePrompts("\n\n").ok());
}

std::vector<int> Counts(AdapterMix mix, size_t adapters, int draws) {
  std::vector<int> counts(adapters);
  for (int i = 0; i < draws; ++i) ++counts.at(mix.Next());
  return counts;
}

// Every count must lie within five standard deviations of its expectation; the seed is fixed.
void ExpectShares(const std::vector<int>& counts, const std::vector<double>& shares, int draws) {
  for (size_t i = 0; i < counts.size(); ++i) {
    const double sigma = std::sqrt(draws * shares[i] * (1 - shares[i]));
    EXPECT_NEAR(counts[i], draws * shares[i], 5 * sigma) << i;
  }
}

TEST(AdapterMix, UniformIsEven) {
  ExpectShares(Counts(AdapterMix(Mix::kUniform, 5, 1.1, 1), 5, 50'000), std::vector<double>(5, 0.2), 50'000);
}

TEST(AdapterMix, ZipfFollowsItsLaw) {
  std::vector<double> shares;
  double sum = 0;
  for (int i = 1; i <= 20; ++i) sum += shares.emplace_back(1 / std::pow(i, 1.1));
  for (double& share : shares) share /= sum;
  ExpectShares(Counts(AdapterMix(Mix::kZipf, 20, 1.1, 2), 20, 50'000), shares, 50'000);
}

TEST(AdapterMix, ZipfOfZeroIsUniform) {
  ExpectShares(Counts(AdapterMix(Mix::kZipf, 4, 0, 3), 4, 10'000), std::vector<double>(4, 0.25), 10'000);
}

TEST(AdapterMix, RoundRobinTakesTurns) {
  AdapterMix mix(Mix::kRoundRobin, 3, 1.1, 1);
  for (size_t i = 0; i < 7; ++i) EXPECT_EQ(mix.Next(), i % 3);
}

TEST(AdapterMix, OneAdapterIsAlwaysIt) {
  for (const Mix mix : {Mix::kUniform, Mix::kZipf, Mix::kRoundRobin}) {
    AdapterMix one(mix, 1, 1.1, 1);
    for (int i = 0; i < 5; ++i) EXPECT_EQ(one.Next(), 0);
  }
}

TEST(AdapterMix, SeedDecides) {
  AdapterMix a(Mix::kUniform, 1000, 1, 7), b(Mix::kUniform, 1000, 1, 7), c(Mix::kUniform, 1000, 1, 8);
  bool differs = false;
  for (int i = 0; i < 20; ++i) {
    const size_t next = a.Next();
    EXPECT_EQ(next, b.Next());
    differs |= next != c.Next();
  }
  EXPECT_TRUE(differs);
}

TEST(PoissonArrivals, GapsAreExponentialOfTheRate) {
  constexpr int kArrivals = 50'000;
  constexpr double kRate = 40;
  PoissonArrivals arrivals(kRate, 5);
  double last = 0, sum = 0, squares = 0;
  for (int i = 0; i < kArrivals; ++i) {
    const double now = Seconds(arrivals.Next());
    const double gap = now - last;
    ASSERT_GE(gap, 0);
    sum += gap;
    squares += gap * gap;
    last = now;
  }
  const double mean = sum / kArrivals, deviation = std::sqrt(squares / kArrivals - mean * mean);
  // Standard errors: 1/(rate sqrt n) of the mean, sqrt(2)/(rate sqrt n) of the deviation, which equals the
  // mean.
  EXPECT_NEAR(mean, 1 / kRate, 5 / (kRate * std::sqrt(kArrivals)));
  EXPECT_NEAR(deviation, 1 / kRate, 5 * std::sqrt(2) / (kRate * std::sqrt(kArrivals)));
}

TEST(RequestSource, PromptsInOrderAdaptersByMixSeedsCountedUp) {
  std::vector<BenchPrompt> prompts = {{"p0", std::nullopt, 0}, {"p1", "own", 9}, {"p2", "@base", 0}};
  RequestSource source(prompts, {"a", "@base"}, AdapterMix(Mix::kRoundRobin, 2, 1, 0), 5, 100);
  const std::vector<BenchRequest> expected = {{"p0", "a", 5, 100},
                                              {"p1", "own", 9, 101},
                                              {"p2", "", 5, 102},
                                              {"p0", "", 5, 103},
                                              {"p1", "own", 9, 104}};
  for (const BenchRequest& want : expected) {
    const BenchRequest got = source.Next();
    EXPECT_EQ(got.prompt, want.prompt);
    EXPECT_EQ(got.adapter, want.adapter);
    EXPECT_EQ(got.max_tokens, want.max_tokens);
    EXPECT_EQ(got.seed, want.seed);
  }
}

}  // namespace
}  // namespace hydrad
