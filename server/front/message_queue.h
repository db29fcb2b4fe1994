// From a thread of ours to a reader that may be slow: the queue behind every streaming answer. The answer's
// account (unread_output.h) says what it may hold, and for how long.
#ifndef HYDRAD_SERVER_FRONT_MESSAGE_QUEUE_H_
#define HYDRAD_SERVER_FRONT_MESSAGE_QUEUE_H_

#include <absl/status/status.h>

#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <utility>

#include "server/base/mutex.h"
#include "server/front/unread_output.h"

namespace hydrad {

// Thread-safe; nothing here waits. Any thread puts in, and one reader takes out. A reader that finds nothing
// is woken once, when there is something again. A function MemoryOf beside the type Message tells the bytes
// of a message in memory.
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
  explicit MessageQueue(std::function<void()> wake) : wake_(std::move(wake)) {}

  // The account that messages are charged to; without one they are charged to nobody. Call it before the
  // first Push.
  void set_account(std::shared_ptr<UnreadOutput::Account> account) { account_ = std::move(account); }

  // Returns false if the message was not taken, because the reader has gone or has fallen behind. In the
  // latter case the queue is emptied, and Close ends the stream with RESOURCE_EXHAUSTED (READER_STALLED).
  bool Push(Message message) {
    const size_t bytes = MemoryOf(message);
    if (account_ != nullptr && !account_->Add(bytes)) {  // without our lock: it may end other answers
      GiveUp(account_->TooLarge());
      return false;
    }
    {
      MutexLock lock(&mu_);
      if (abandoned_ || given_up_ || end_) {
        Remove(bytes);
        return false;
      }
      queue_.push_back({std::move(message), bytes});
      if (!std::exchange(reader_waits_, false)) return true;
    }
    wake_();
    return true;
  }

  // The stream ends after what is queued, with `last` and OK, or with `status`. Only the first call counts.
  void Close(absl::Status status, std::optional<Message> last = std::nullopt) {
    const size_t bytes = last ? MemoryOf(*last) : 0;
    if (last && account_ != nullptr && !account_->Add(bytes)) {
      GiveUp(account_->TooLarge());
      last.reset();
    }
    {
      MutexLock lock(&mu_);
      const bool ends = !end_;
      if (last && (!ends || given_up_ || abandoned_)) {
        Remove(bytes);
        last.reset();
      }
      if (!ends) return;
      if (last) {
        has_last_ = true;
        queue_.push_back({*std::move(last), bytes});
      }
      end_ = given_up_ ? *given_up_ : std::move(status);
      if (!std::exchange(reader_waits_, false)) return;
    }
    wake_();
  }

  // Fills `message` and `bytes`, what it is charged (kMessage, kLast), or `status` (kEnd). From then on the
  // taker must give the charge back.
  Next Take(Message* message, size_t* bytes, absl::Status* status) {
    MutexLock lock(&mu_);
    if (!queue_.empty()) {
      *message = std::move(queue_.front().message);
      *bytes = queue_.front().bytes;
      queue_.pop_front();
      return has_last_ && queue_.empty() ? Next::kLast : Next::kMessage;
    }
    if (end_) {
      *status = *end_;
      return Next::kEnd;
    }
    reader_waits_ = true;
    return Next::kNothing;
  }

  // The reader has gone. What is queued is dropped, and Take tells of the end alone.
  void Abandon() {
    MutexLock lock(&mu_);
    abandoned_ = true;
    Drop();
  }

  // The reader has not kept up. What is queued is dropped, nothing more is taken, and the stream ends with
  // `why`.
  void GiveUp(const absl::Status& why) {
    MutexLock lock(&mu_);
    if (given_up_) return;
    given_up_ = why;
    if (!queue_.empty() && end_) end_ = why;
    Drop();
  }

 private:
  struct Entry {
    Message message;
    size_t bytes;
  };

  void Remove(size_t bytes) {
    if (account_ != nullptr) account_->Remove(bytes);
  }
  void Drop() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    for (const Entry& entry : queue_) Remove(entry.bytes);
    queue_ = {};  // with its memory
    has_last_ = false;
  }

  // Constant once there are messages.
  const std::function<void()> wake_;
  std::shared_ptr<UnreadOutput::Account> account_;

  // The states above, and what waits for the reader.
  Mutex mu_;
  std::deque<Entry> queue_ ABSL_GUARDED_BY(mu_);
  bool reader_waits_ ABSL_GUARDED_BY(mu_) = true;
  bool abandoned_ ABSL_GUARDED_BY(mu_) = false;
  bool has_last_ ABSL_GUARDED_BY(mu_) = false;
  std::optional<absl::Status> given_up_ ABSL_GUARDED_BY(mu_);
  std::optional<absl::Status> end_ ABSL_GUARDED_BY(mu_);
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_FRONT_MESSAGE_QUEUE_H_
