// From a thread of ours to a reader that may be slow: the bounded queue behind every streaming answer.
#ifndef HYDRAD_SERVER_RPC_MESSAGE_QUEUE_H_
#define HYDRAD_SERVER_RPC_MESSAGE_QUEUE_H_

#include <deque>
#include <functional>
#include <optional>
#include <utility>

#include "server/base/mutex.h"
#include "server/base/status.h"
#include "server/rpc/error_details.h"

namespace hydrad {

// How much may wait for its reader before the stream is given up.
struct QueueBounds {
  size_t max_messages = 1024;
  size_t max_bytes = 256 << 10;
};

// Thread-safe; nothing here waits. Any thread puts in, one reader takes out. A reader that finds nothing is
// woken once, when there is something again. Message is a protobuf message.
template <class Message>
class MessageQueue {
 public:
  enum class Next {
    kNothing,  // `wake` will be called
    kMessage,
    kLast,  // the message after which the stream ends well
    kEnd,   // no message: the stream ends with the status
  };

  // `wake` is called without a lock held, by the thread that puts in, and never again after Take has answered
  // kLast or kEnd. A new queue's reader counts as having found nothing.
  MessageQueue(QueueBounds bounds, std::function<void()> wake) : bounds_(bounds), wake_(std::move(wake)) {}

  // False: the message was not taken, because the reader has gone or has fallen behind the bounds. In the
  // latter case the queue is emptied, and Close ends the stream with RESOURCE_EXHAUSTED (READER_STALLED).
  bool Push(Message message) {
    {
      MutexLock lock(&mu_);
      if (abandoned_ || stalled_ || end_) return false;
      if (queue_.size() >= bounds_.max_messages || bytes_ > bounds_.max_bytes) {
        stalled_ = true;
        queue_.clear();
        return false;
      }
      Append(std::move(message));
      if (!std::exchange(reader_waits_, false)) return true;
    }
    wake_();
    return true;
  }

  // The stream ends after what is queued: with `last` and OK, or with `status`. Only the first call counts.
  void Close(absl::Status status, std::optional<Message> last = std::nullopt) {
    {
      MutexLock lock(&mu_);
      if (end_) return;
      if (stalled_) status = Stalled();
      if (last && !stalled_ && !abandoned_) {
        has_last_ = true;
        Append(*std::move(last));
      }
      end_ = std::move(status);
      if (!std::exchange(reader_waits_, false)) return;
    }
    wake_();
  }

  // Fills `message` (kMessage, kLast) or `status` (kEnd).
  Next Take(Message* message, absl::Status* status) {
    MutexLock lock(&mu_);
    if (!queue_.empty()) {
      *message = std::move(queue_.front());
      queue_.pop_front();
      bytes_ -= message->ByteSizeLong();
      return has_last_ && queue_.empty() ? Next::kLast : Next::kMessage;
    }
    if (end_) {
      *status = *end_;
      return Next::kEnd;
    }
    reader_waits_ = true;
    return Next::kNothing;
  }

  // The reader has gone: what is queued goes, and it will be told of the end alone.
  void Abandon() {
    MutexLock lock(&mu_);
    abandoned_ = true;
    has_last_ = false;
    queue_.clear();
  }

 private:
  void Append(Message message) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    bytes_ += message.ByteSizeLong();
    queue_.push_back(std::move(message));
  }
  static absl::Status Stalled() {
    return WithReason(ResourceExhausted("the reader of the stream did not keep up"), "READER_STALLED");
  }

  // Constant after construction.
  const QueueBounds bounds_;
  const std::function<void()> wake_;

  // The states above, and what waits for the reader.
  Mutex mu_;
  std::deque<Message> queue_ ABSL_GUARDED_BY(mu_);
  size_t bytes_ ABSL_GUARDED_BY(mu_) = 0;
  bool reader_waits_ ABSL_GUARDED_BY(mu_) = true;
  bool stalled_ ABSL_GUARDED_BY(mu_) = false;
  bool abandoned_ ABSL_GUARDED_BY(mu_) = false;
  bool has_last_ ABSL_GUARDED_BY(mu_) = false;
  std::optional<absl::Status> end_ ABSL_GUARDED_BY(mu_);
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_RPC_MESSAGE_QUEUE_H_
