// A bounded queue with many senders and one receiver: the way into the scheduler thread.
#ifndef HYDRAD_SERVER_BASE_INBOX_H_
#define HYDRAD_SERVER_BASE_INBOX_H_

#include <utility>
#include <vector>

#include "server/base/clock.h"
#include "server/base/mutex.h"

namespace hydrad {

// Holds messages until the receiver takes them. Send never waits: a full or closed inbox refuses.
// Thread-safe.
template <class T>
class Inbox {
 public:
  // Send refuses while `capacity` messages wait.
  explicit Inbox(size_t capacity) : capacity_(capacity) {}

  // What became of a message: it is queued, or it was refused for now, or for good.
  enum class Sent { kOk, kFull, kClosed };

  // Queues `message` if the answer is kOk; otherwise the caller still owns it.
  Sent Send(T& message) { return Push(message, capacity_); }
  // Queues `message` even when the inbox is full. For messages whose number is bounded by something else,
  // such as one cancel per request.
  Sent SendAlways(T message) { return Push(message, SIZE_MAX); }

  // Waits until a message is there, the inbox is closed or `limit` has passed, then takes all there is.
  // Messages sent before Close are still delivered.
  std::vector<T> ReceiveAll(Duration limit) {
    MutexLock lock(&mu_);
    mu_.AwaitFor(limit, [this]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return closed_ || !messages_.empty(); });
    return std::exchange(messages_, {});
  }

  // Refuses every message from now on.
  void Close() {
    MutexLock lock(&mu_);
    closed_ = true;
  }

  // The messages that wait. By the time it is read it may be another number.
  size_t size() const {
    MutexLock lock(&mu_);
    return messages_.size();
  }

 private:
  Sent Push(T& message, size_t limit) {
    MutexLock lock(&mu_);
    if (closed_) return Sent::kClosed;
    if (messages_.size() >= limit) return Sent::kFull;
    messages_.push_back(std::move(message));
    return Sent::kOk;
  }

  const size_t capacity_;
  mutable Mutex mu_;
  std::vector<T> messages_ ABSL_GUARDED_BY(mu_);
  bool closed_ ABSL_GUARDED_BY(mu_) = false;
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_BASE_INBOX_H_
