#include "client/bench/report.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "client/bench/load_plan.h"
#include "client/error_text.h"

namespace hydrad {
namespace {

// REQUIRES: `sorted` is not empty.
double AtQuantile(const std::vector<double>& sorted, double p) {
  const double rank = p * static_cast<double>(sorted.size() - 1);
  const size_t below = static_cast<size_t>(rank);
  const size_t above = std::min(below + 1, sorted.size() - 1);
  return std::lerp(sorted[below], sorted[above], rank - static_cast<double>(below));
}

double PerSecond(double count, double seconds) { return seconds > 0 ? count / seconds : 0; }

Json ToJson(const Quantiles& q) {
  return {{"count", q.count}, {"mean", q.mean}, {"p50", q.p50},
          {"p95", q.p95},     {"p99", q.p99},   {"max", q.max}};
}

}  // namespace

Quantiles QuantilesOf(std::vector<double> values) {
  if (values.empty()) return {};
  std::sort(values.begin(), values.end());
  Quantiles q;
  q.count = values.size();
  q.mean = std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
  q.p50 = AtQuantile(values, 0.50);
  q.p95 = AtQuantile(values, 0.95);
  q.p99 = AtQuantile(values, 0.99);
  q.max = values.back();
  return q;
}

BenchReport Summarise(const std::vector<RequestSample>& samples, double seconds) {
  BenchReport report;
  report.seconds = seconds;
  std::vector<double> first_token, inter_token, total, late;
  for (const RequestSample& sample : samples) {
    AdapterCount& adapter = report.adapters[sample.adapter];
    ++report.requests;
    ++adapter.requests;
    late.push_back(sample.late);
    if (sample.code != absl::StatusCode::kOk) {
      ++report.errors[CodeName(sample.code)];
      continue;
    }
    ++report.ok;
    ++adapter.ok;
    adapter.generated_tokens += sample.generated_tokens;
    report.generated_tokens += sample.generated_tokens;
    report.prompt_tokens += sample.prompt_tokens;
    if (sample.first_token >= 0) first_token.push_back(sample.first_token);
    total.push_back(sample.total);
    inter_token.insert(inter_token.end(), sample.inter_token.begin(), sample.inter_token.end());
  }
  report.first_token = QuantilesOf(std::move(first_token));
  report.inter_token = QuantilesOf(std::move(inter_token));
  report.total = QuantilesOf(std::move(total));
  report.late = QuantilesOf(std::move(late));
  return report;
}

Json ToJson(const BenchReport& report) {
  Json adapters = Json::object();
  for (const auto& [name, count] : report.adapters) {
    adapters[name.empty() ? std::string(kBaseName) : name] = {
        {"requests", count.requests}, {"ok", count.ok}, {"generated_tokens", count.generated_tokens}};
  }
  Json errors = Json::object();
  for (const auto& [code, count] : report.errors) errors[code] = count;
  return {{"requests", report.requests},
          {"ok", report.ok},
          {"errors", std::move(errors)},
          {"seconds", report.seconds},
          {"requests_per_second", PerSecond(report.ok, report.seconds)},
          {"generated_tokens", report.generated_tokens},
          {"generated_tokens_per_second", PerSecond(report.generated_tokens, report.seconds)},
          {"prompt_tokens", report.prompt_tokens},
          {"prompt_tokens_per_second", PerSecond(report.prompt_tokens, report.seconds)},
          {"time_to_first_token_seconds", ToJson(report.first_token)},
          {"inter_token_seconds", ToJson(report.inter_token)},
          {"request_seconds", ToJson(report.total)},
          {"late_seconds", ToJson(report.late)},
          {"adapters", std::move(adapters)}};
}

}  // namespace hydrad
