// Where a client's cancel meets the work on its call, which goes from thread to thread.
#ifndef HYDRAD_SERVER_FRONT_CANCEL_POINT_H_
#define HYDRAD_SERVER_FRONT_CANCEL_POINT_H_

#include <absl/status/status.h>

#include <functional>
#include <utility>

#include "server/base/mutex.h"

namespace hydrad {

// Thread-safe. The first cancel counts.
class CancelPoint {
 public:
  // The call is to end with `why`: at once if it has been bound, otherwise when it is.
  void Cancel(const absl::Status& why) {
    std::function<void(const absl::Status&)> cancel;
    {
      MutexLock lock(&mu_);
      if (!why_.ok()) return;
      why_ = why;
      cancel = std::move(cancel_);
    }
    if (cancel) cancel(why);
  }

  // OK, or why the call is to end.
  absl::Status status() const {
    MutexLock lock(&mu_);
    return why_;
  }

  // `cancel` belongs to who has the call now, and is called if the call is to end; if that was known before,
  // it is called here. Call it once.
  void Bind(std::function<void(const absl::Status&)> cancel) {
    absl::Status why;
    {
      MutexLock lock(&mu_);
      why = why_;
      if (why.ok()) {
        cancel_ = std::move(cancel);
        return;
      }
    }
    cancel(why);
  }

 private:
  mutable Mutex mu_;
  absl::Status why_ ABSL_GUARDED_BY(mu_);
  std::function<void(const absl::Status&)> cancel_ ABSL_GUARDED_BY(mu_);
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_FRONT_CANCEL_POINT_H_
