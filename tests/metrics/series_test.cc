#include "server/metrics/series.h"

#include <fmt/core.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

namespace hydrad {
namespace {

using testing::HasSubstr;
using testing::Not;

TEST(LabelBoundTest, LaterValuesAreOther) {
  LabelBound bound(2);
  EXPECT_EQ(bound.Bound("a"), "a");
  EXPECT_EQ(bound.Bound("b"), "b");
  EXPECT_EQ(bound.Bound("c"), "other");
  EXPECT_EQ(bound.Bound("a"), "a");
}

TEST(LabelBoundTest, AForgottenValueFreesItsPlace) {
  LabelBound bound(1);
  bound.Bound("a");
  bound.Forget("a");
  bound.Forget("never seen");
  EXPECT_EQ(bound.Bound("b"), "b");
}

std::string Text(const prometheus::Registry& registry) {
  return prometheus::TextSerializer().Serialize(registry.Collect());
}

TEST(RoutedSeriesTest, CountsTokensByExpert) {
  prometheus::Registry registry;
  RoutedSeries series(registry, 10, /*max_experts=*/2);
  series.Count("a", std::vector<double>{1.5, 0.5}, 0.25, {});
  series.Count("a", std::vector<double>{1, 0, 2, 4}, 0.75, {});
  EXPECT_THAT(Text(registry), HasSubstr("hydrad_expert_tokens_total{adapter=\"a\",expert=\"0\"} 2.5"));
  EXPECT_THAT(Text(registry), HasSubstr("hydrad_expert_tokens_total{adapter=\"a\",expert=\"other\"} 6"));
  EXPECT_THAT(Text(registry), HasSubstr("hydrad_router_entropy_sum{adapter=\"a\"} 1"));
}

// As an MoA's are, which come and go: a line is that of the name, wherever it stands.
TEST(RoutedSeriesTest, ExpertsMayHaveNames) {
  prometheus::Registry registry;
  RoutedSeries series(registry, 10, /*max_experts=*/2);
  series.Count("a", std::vector<double>{3, 0}, std::nullopt, std::vector<std::string>{"poems", "sums"});
  EXPECT_THAT(Text(registry), Not(HasSubstr("hydrad_router_entropy_count"))) << "nobody was asked";
  series.Count("a", std::vector<double>{0, 5, 2}, 0.5, std::vector<std::string>{"sums", "poems", "jokes"});
  EXPECT_THAT(Text(registry), HasSubstr("{adapter=\"a\",expert=\"poems\"} 8"));
  EXPECT_THAT(Text(registry), HasSubstr("{adapter=\"a\",expert=\"sums\"} 0"));
  EXPECT_THAT(Text(registry), HasSubstr("{adapter=\"a\",expert=\"other\"} 2"));
  EXPECT_THAT(Text(registry), HasSubstr("hydrad_router_entropy_count{adapter=\"a\"} 1"));
  series.AdapterGone("a");
  EXPECT_THAT(Text(registry), Not(HasSubstr("adapter=\"a\"")));
}

TEST(RoutedSeriesTest, WhatOnlyLabelsPickedGoesToo) {
  prometheus::Registry registry;
  RoutedSeries series(registry, 10, 2);
  series.Count("a", std::vector<double>{1}, std::nullopt, {});
  series.AdapterGone("a");
  EXPECT_THAT(Text(registry), Not(HasSubstr("adapter=\"a\"")));
}

TEST(RoutedSeriesTest, LinesGoWithTheirAdapterAndAreBounded) {
  prometheus::Registry registry;
  RoutedSeries series(registry, 1, 2);
  series.Count("a", std::vector<double>{1}, 1, {});
  series.Count("b", std::vector<double>{1}, 1, {});
  EXPECT_THAT(Text(registry), HasSubstr("adapter=\"other\",expert=\"0\"} 1"));
  series.AdapterGone("a");
  EXPECT_THAT(Text(registry), Not(HasSubstr("adapter=\"a\"")));
  series.AdapterGone("a");
  series.Count("b", std::vector<double>{1}, 1, {});
  EXPECT_THAT(Text(registry), HasSubstr("adapter=\"b\",expert=\"0\"} 1"));
}

TEST(RequestSeriesTest, CountsByTenantAdapterAndOutcome) {
  prometheus::Registry registry;
  RequestSeries series(registry, 10);
  series.Count("acme", "sql", "ok", 5, 7);
  series.Count("acme", "sql", "ok", 1, 1);
  series.Count("acme", "", "error", 2, 0);
  series.Count("acme", "", "ok", 20, 1, 16);
  const std::string text = Text(registry);
  EXPECT_THAT(text, HasSubstr(R"(hydrad_prefix_cache_queries_total{adapter="",tenant="acme"} 20)"));
  EXPECT_THAT(text, HasSubstr(R"(hydrad_prefix_cache_hits_total{adapter="",tenant="acme"} 16)"));
  EXPECT_THAT(text, Not(HasSubstr(R"(hydrad_prefix_cache_queries_total{adapter="sql")")))
      << "it was not asked";
  EXPECT_THAT(text, HasSubstr(R"(hydrad_requests_total{adapter="sql",outcome="ok",tenant="acme"} 2)"));
  EXPECT_THAT(text, HasSubstr(R"(hydrad_requests_total{adapter="",outcome="error",tenant="acme"} 1)"));
  EXPECT_THAT(text, HasSubstr(R"(hydrad_prompt_tokens_total{adapter="sql",tenant="acme"} 6)"));
  EXPECT_THAT(text, HasSubstr(R"(hydrad_generated_tokens_total{adapter="sql",tenant="acme"} 8)"));
}

TEST(RequestSeriesTest, TenThousandAdaptersMakeAFewLines) {
  prometheus::Registry registry;
  RequestSeries series(registry, 3);
  for (int i = 0; i < 10'000; ++i) series.Count("t", fmt::format("adapter-{}", i), "ok", 1, 1);
  const std::string text = Text(registry);
  EXPECT_THAT(text, HasSubstr(R"(hydrad_requests_total{adapter="adapter-2",outcome="ok",tenant="t"} 1)"));
  EXPECT_THAT(text, HasSubstr(R"(hydrad_requests_total{adapter="other",outcome="ok",tenant="t"} 9997)"));
  EXPECT_THAT(text, Not(HasSubstr("adapter-3\"")));
}

TEST(RequestSeriesTest, AnAdaptersLinesGoWithIt) {
  prometheus::Registry registry;
  RequestSeries series(registry, 10);
  series.Count("a", "sql", "ok", 1, 1);
  series.Count("b", "sql", "error", 1, 1);
  series.Count("b", "law", "ok", 1, 1);
  series.AdapterGone("sql");
  EXPECT_THAT(Text(registry), Not(HasSubstr("sql")));
  EXPECT_THAT(Text(registry), HasSubstr("law"));
  series.Count("a", "sql", "ok", 1, 1);  // loaded again: counts from zero
  EXPECT_THAT(Text(registry), HasSubstr(R"(hydrad_requests_total{adapter="sql",outcome="ok",tenant="a"} 1)"));
}

}  // namespace
}  // namespace hydrad
