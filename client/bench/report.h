// From what each request of a benchmark saw to the numbers that are reported.
#ifndef HYDRAD_CLIENT_BENCH_REPORT_H_
#define HYDRAD_CLIENT_BENCH_REPORT_H_

#include <absl/status/status.h>

#include <map>
#include <string>
#include <vector>

#include "server/base/json.h"

namespace hydrad {

// What one request saw. Times in seconds, from the moment it was due: in an open loop its scheduled arrival,
// so that a server (or client) that falls behind cannot hide it (no coordinated omission).
struct RequestSample {
  std::string adapter;
  absl::StatusCode code = absl::StatusCode::kOk;
  double first_token = -1;  // below 0: none came
  double total = 0;
  double late = 0;                 // sent so long after it was due: the client's own fault
  std::vector<float> inter_token;  // between tokens of one choice; tokens of one message share its gap
  int prompt_tokens = 0, generated_tokens = 0;
};

// Spread of a set of numbers; all 0 when there is none.
struct Quantiles {
  size_t count = 0;
  double mean = 0, p50 = 0, p95 = 0, p99 = 0, max = 0;
};
// The p-quantile of n numbers lies at rank p * (n - 1), between two neighbours in proportion, as numpy has
// it.
Quantiles QuantilesOf(std::vector<double> values);

struct AdapterCount {
  int requests = 0, ok = 0;
  int64_t generated_tokens = 0;
};

// Tokens and times are of the requests that ended OK.
struct BenchReport {
  int requests = 0, ok = 0;
  double seconds = 0;  // from the start to the last end
  int64_t prompt_tokens = 0, generated_tokens = 0;
  Quantiles first_token, inter_token, total, late;
  std::map<std::string, int> errors;             // by code
  std::map<std::string, AdapterCount> adapters;  // "" is the base model; "@base" in JSON
};
BenchReport Summarise(const std::vector<RequestSample>& samples, double seconds);

Json ToJson(const BenchReport& report);

}  // namespace hydrad

#endif  // HYDRAD_CLIENT_BENCH_REPORT_H_
