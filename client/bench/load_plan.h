// What a benchmark sends and when, decided by values and a seed alone, so that two runs with the same options
// send the same requests at the same times.
#ifndef HYDRAD_CLIENT_BENCH_LOAD_PLAN_H_
#define HYDRAD_CLIENT_BENCH_LOAD_PLAN_H_

#include <absl/status/statusor.h>

#include <cstdint>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "server/base/clock.h"

namespace hydrad {

// Names the base model where an adapter is named; no adapter can be called so.
inline constexpr std::string_view kBaseName = "@base";

struct BenchPrompt {
  std::string text;
  std::optional<std::string> adapter;  // set: this prompt is for that adapter, whatever the mix says
  int max_tokens = 0;                  // 0: as the options say
};

// The prompts of a file: each line is one, or a JSON object {"prompt": ..., "adapter": ..., "max_tokens":
// ...} when it starts with '{'. Empty lines are skipped. INVALID_ARGUMENT names the line; so does a file
// without prompts.
absl::StatusOr<std::vector<BenchPrompt>> ParsePrompts(std::string_view file);

// How requests are spread over adapters.
enum class Mix {
  kUniform,     // each as likely as any
  kZipf,        // the i-th (from 1) in proportion to 1 / i^s: a few are hot, many are rare
  kRoundRobin,  // each in turn
};

// Picks the adapter of each request. One thread.
class AdapterMix {
 public:
  // REQUIRES: count > 0.
  AdapterMix(Mix mix, size_t count, double zipf_s, uint64_t seed);
  size_t Next();  // in [0, count)

 private:
  const Mix mix_;
  std::vector<double> cumulative_;  // [count] share of the adapters up to each; ends at 1
  std::mt19937_64 random_;
  size_t turn_ = 0;
};

// When requests arrive in an open loop: a Poisson process of `rate` a second, as from many users who do not
// know of each other. One thread.
class PoissonArrivals {
 public:
  // REQUIRES: rate > 0.
  PoissonArrivals(double rate, uint64_t seed) : rate_(rate), random_(seed) {}
  Duration Next();  // since the start; never less than the one before

 private:
  const double rate_;
  std::mt19937_64 random_;
  double seconds_ = 0;
};

// One request of a benchmark.
struct BenchRequest {
  std::string prompt, adapter = {};  // adapter "": the base model
  int max_tokens = 0;                // 0: the server's default
  uint64_t seed = 0;
};

// Makes the requests: prompts in the order of the file, over and over, adapters (or kBaseName) by the mix,
// seeds counted up. One thread.
class RequestSource {
 public:
  // REQUIRES: prompts and adapters are not empty.
  RequestSource(std::vector<BenchPrompt> prompts, std::vector<std::string> adapters, AdapterMix mix,
                int max_tokens, uint64_t seed);
  BenchRequest Next();

 private:
  const std::vector<BenchPrompt> prompts_;
  const std::vector<std::string> adapters_;
  AdapterMix mix_;
  const int max_tokens_;
  const uint64_t seed_;
  size_t made_ = 0;
};

}  // namespace hydrad

#endif  // HYDRAD_CLIENT_BENCH_LOAD_PLAN_H_
