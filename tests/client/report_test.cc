#include "client/bench/report.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace hydrad {
namespace {

TEST(Quantiles, InterpolateBetweenRanks) {
  std::vector<double> values;
  for (int i = 100; i >= 0; --i) values.push_back(i);  // unsorted on purpose
  const Quantiles q = QuantilesOf(values);
  EXPECT_EQ(q.count, 101);
  EXPECT_DOUBLE_EQ(q.mean, 50);
  EXPECT_DOUBLE_EQ(q.p50, 50);
  EXPECT_DOUBLE_EQ(q.p95, 95);
  EXPECT_DOUBLE_EQ(q.p99, 99);
  EXPECT_DOUBLE_EQ(q.max, 100);
  const Quantiles two = QuantilesOf({4, 2});
  EXPECT_DOUBLE_EQ(two.p50, 3);
  EXPECT_DOUBLE_EQ(two.p95, 3.9);
}

TEST(Quantiles, OneAndNone) {
  EXPECT_EQ(QuantilesOf({7}).p50, 7);
  EXPECT_EQ(QuantilesOf({7}).p99, 7);
  EXPECT_EQ(QuantilesOf({}).count, 0);
  EXPECT_EQ(QuantilesOf({}).max, 0);
}

RequestSample Sample(const std::string& adapter, absl::StatusCode code, double first, int tokens) {
  RequestSample sample;
  sample.adapter = adapter;
  sample.code = code;
  sample.first_token = first;
  sample.total = 2 * first;
  sample.prompt_tokens = 10;
  sample.generated_tokens = tokens;
  sample.inter_token = std::vector<float>(tokens - 1, 0.5f);
  return sample;
}

TEST(Report, CountsByAdapterAndCodeAndTimesOnlyWhatEndedWell) {
  using enum absl::StatusCode;
  const BenchReport report = Summarise({Sample("a", kOk, 1, 3), Sample("", kOk, 3, 5),
                                        Sample("a", kUnavailable, 100, 9), Sample("a", kUnavailable, -1, 1)},
                                       4);
  EXPECT_EQ(report.requests, 4);
  EXPECT_EQ(report.ok, 2);
  EXPECT_EQ(report.generated_tokens, 8);
  EXPECT_EQ(report.prompt_tokens, 20);
  EXPECT_EQ(report.errors.at("UNAVAILABLE"), 2);
  EXPECT_EQ(report.adapters.at("a").requests, 3);
  EXPECT_EQ(report.adapters.at("a").ok, 1);
  EXPECT_DOUBLE_EQ(report.first_token.max, 3);
  EXPECT_EQ(report.inter_token.count, 6);
  EXPECT_EQ(report.late.count, 4);
  const Json json = ToJson(report);
  EXPECT_EQ(json["requests_per_second"], 0.5);
  EXPECT_EQ(json["generated_tokens_per_second"], 2.0);
  EXPECT_EQ(json["prompt_tokens_per_second"], 5.0);
  EXPECT_EQ(json["adapters"]["@base"]["ok"], 1);
  EXPECT_EQ(json["adapters"]["a"]["generated_tokens"], 3);
  EXPECT_EQ(json["errors"], Json({{"UNAVAILABLE", 2}}));
  EXPECT_EQ(json["time_to_first_token_seconds"]["p50"], 2.0);
  EXPECT_EQ(json["request_seconds"]["max"], 6.0);
}

TEST(Report, NothingSentIsAllZero) {
  const Json json = ToJson(Summarise({}, 0));
  EXPECT_EQ(json["requests_per_second"], 0.0);
  EXPECT_EQ(json["errors"], Json::object());
}

}  // namespace
}  // namespace hydrad
