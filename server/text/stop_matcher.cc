#include "server/text/stop_matcher.h"

#include <algorithm>
#include <utility>

namespace hydrad {

StopMatcher::StopMatcher(std::vector<std::string> stops) : stops_(std::move(stops)) {
  std::erase_if(stops_, [](const std::string& stop) { return stop.empty(); });
  for (const std::string& stop : stops_) longest_ = std::max(longest_, stop.size());
}

StopMatcher::Result StopMatcher::Add(std::string_view text) {
  if (stops_.empty()) return {std::string(text), {}};
  held_ += text;
  size_t begin = 0;
  if (const std::string_view match = FindFirst(&begin); !match.empty()) {
    held_.resize(begin);
    return {std::exchange(held_, {}), match};
  }
  const size_t certain = held_.size() - HeldLength();
  Result result{held_.substr(0, certain), {}};
  held_.erase(0, certain);
  return result;
}

std::string StopMatcher::Finish() { return std::exchange(held_, {}); }

std::string_view StopMatcher::FindFirst(size_t* begin) const {
  std::string_view found;
  for (const std::string& stop : stops_) {
    const size_t at = held_.find(stop);
    if (at == std::string::npos) continue;
    const size_t end = at + stop.size(), found_end = *begin + found.size();
    if (found.empty() || end < found_end || (end == found_end && at < *begin)) {
      found = stop;
      *begin = at;
    }
  }
  return found;
}

size_t StopMatcher::HeldLength() const {
  const std::string_view text = held_;
  for (size_t length = std::min(longest_ - 1, text.size()); length > 0; --length) {
    const std::string_view tail = text.substr(text.size() - length);
    const auto begins = [&](std::string_view stop) { return stop.size() > length && stop.starts_with(tail); };
    if (std::ranges::any_of(stops_, begins)) return length;
  }
  return 0;
}

}  // namespace hydrad
