// Says in the log that the scheduler does not come round, and where it is.
#ifndef HYDRAD_SERVER_STALL_REPORT_H_
#define HYDRAD_SERVER_STALL_REPORT_H_

#include <functional>
#include <string>

#include "server/base/clock.h"

namespace hydrad {

// Not thread-safe: one thread looks.
class StallReport {
 public:
  static constexpr Duration kBetween = std::chrono::minutes(1);  // two records of one stall

  // `limit`: without a heartbeat, until it is a stall. `where` tells where the thread is, `say` writes a
  // record.
  StallReport(Duration limit, const Clock& clock, std::function<std::string()> where,
              std::function<void(const std::string&)> say);

  void Look(Duration since_heartbeat);

 private:
  const Duration limit_;
  const Clock& clock_;
  const std::function<std::string()> where_;
  const std::function<void(const std::string&)> say_;
  bool stalled_ = false;
  TimePoint next_{};
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_STALL_REPORT_H_
