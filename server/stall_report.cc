#include "server/stall_report.h"

#include <fmt/core.h>

#include <utility>

namespace hydrad {

StallReport::StallReport(Duration limit, const Clock& clock, std::function<std::string()> where,
                         std::function<void(const std::string&)> say)
    : limit_(limit), clock_(clock), where_(std::move(where)), say_(std::move(say)) {}

void StallReport::Look(Duration since_heartbeat) {
  if (since_heartbeat <= limit_) {
    if (stalled_) say_("the scheduler comes round again");
    stalled_ = false;
    return;
  }
  if (stalled_ && clock_.Now() < next_) return;
  stalled_ = true;
  next_ = clock_.Now() + kBetween;
  say_(fmt::format("the scheduler has not come round for {:.1f} s: {}", Seconds(since_heartbeat), where_()));
}

}  // namespace hydrad
