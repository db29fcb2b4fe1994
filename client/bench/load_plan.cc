#include "client/bench/load_plan.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "server/base/check.h"
#include "server/base/invalid_argument.h"
#include "server/base/json.h"
#include "server/base/status_macros.h"

namespace hydrad {
namespace {

// In [0, 1), the same on every platform, which the standard's distributions are not.
double Uniform(std::mt19937_64& random) { return static_cast<double>(random() >> 11) * 0x1p-53; }

absl::Status SetField(const std::string& key, const Json& value, BenchPrompt& prompt) {
  if (key == "prompt" && value.is_string()) {
    prompt.text = value.get<std::string>();
  } else if (key == "adapter" && value.is_string()) {
    prompt.adapter = value.get<std::string>();
  } else if (key == "max_tokens" && value.is_number_integer() && value.get<int64_t>() > 0 &&
             value.get<int64_t>() <= INT32_MAX) {
    prompt.max_tokens = value.get<int>();
  } else {
    return InvalidArgument("'{}': wants prompt and adapter (strings), max_tokens (above 0)", key);
  }
  return absl::OkStatus();
}

absl::StatusOr<BenchPrompt> ParseLine(std::string_view line) {
  BenchPrompt prompt;
  if (!line.starts_with('{')) {
    prompt.text = line;
    return prompt;
  }
  ASSIGN_OR_RETURN(const Json json, ParseJson(line));
  for (const auto& [key, value] : json.items()) RETURN_IF_ERROR(SetField(key, value, prompt));
  if (prompt.text.empty()) return InvalidArgument("'prompt' is missing or empty");
  return prompt;
}

}  // namespace

absl::StatusOr<std::vector<BenchPrompt>> ParsePrompts(std::string_view file) {
  std::vector<BenchPrompt> prompts;
  for (int number = 1; !file.empty(); ++number) {
    std::string_view line = file.substr(0, file.find('\n'));
    file.remove_prefix(std::min(file.size(), line.size() + 1));
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.empty()) continue;
    auto prompt = ParseLine(line);
    if (!prompt.ok()) return Annotate(prompt.status(), fmt::format("line {}", number));
    prompts.push_back(*std::move(prompt));
  }
  if (prompts.empty()) return InvalidArgument("no prompts");
  return prompts;
}

AdapterMix::AdapterMix(Mix mix, size_t count, double zipf_s, uint64_t seed) : mix_(mix), random_(seed) {
  HYDRAD_CHECK(count > 0);
  double sum = 0;
  for (size_t i = 1; i <= count; ++i) {
    sum += mix == Mix::kZipf ? std::pow(static_cast<double>(i), -zipf_s) : 1.0;
    cumulative_.push_back(sum);
  }
  for (double& share : cumulative_) share /= sum;
}

size_t AdapterMix::Next() {
  if (mix_ == Mix::kRoundRobin) return turn_++ % cumulative_.size();
  return std::upper_bound(cumulative_.begin(), cumulative_.end() - 1, Uniform(random_)) - cumulative_.begin();
}

Duration PoissonArrivals::Next() {
  seconds_ -= std::log1p(-Uniform(random_)) / rate_;
  return std::chrono::duration_cast<Duration>(std::chrono::duration<double>(seconds_));
}

RequestSource::RequestSource(std::vector<BenchPrompt> prompts, std::vector<std::string> adapters,
                             AdapterMix mix, int max_tokens, uint64_t seed)
    : prompts_(std::move(prompts)),
      adapters_(std::move(adapters)),
      mix_(std::move(mix)),
      max_tokens_(max_tokens),
      seed_(seed) {
  HYDRAD_CHECK(!prompts_.empty() && !adapters_.empty());
}

BenchRequest RequestSource::Next() {
  const BenchPrompt& prompt = prompts_[made_ % prompts_.size()];
  BenchRequest request;
  request.prompt = prompt.text;
  request.adapter = prompt.adapter ? *prompt.adapter : adapters_[mix_.Next()];
  if (request.adapter == kBaseName) request.adapter.clear();
  request.max_tokens = prompt.max_tokens > 0 ? prompt.max_tokens : max_tokens_;
  request.seed = seed_ + made_++;
  return request;
}

}  // namespace hydrad
