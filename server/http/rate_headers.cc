#include "server/http/rate_headers.h"

#include <fmt/format.h>

#include <chrono>

namespace hydrad {

std::vector<std::pair<std::string, std::string>> RateHeaders(const std::optional<RateLeft>& rate) {
  if (!rate) return {};
  const auto millis = std::chrono::ceil<std::chrono::milliseconds>(rate->until_full);
  return {{"x-ratelimit-limit-requests", std::to_string(rate->burst)},
          {"x-ratelimit-remaining-requests", std::to_string(rate->left)},
          {"x-ratelimit-reset-requests", fmt::format("{:g}s", static_cast<double>(millis.count()) / 1000)}};
}

}  // namespace hydrad
