// How many requests wait to start, counted from the moment they are accepted.
#ifndef HYDRAD_SERVER_SCHEDULER_QUEUE_LIMIT_H_
#define HYDRAD_SERVER_SCHEDULER_QUEUE_LIMIT_H_

#include <atomic>
#include <optional>
#include <utility>

namespace hydrad {

// A bound on the requests that have not started, wherever they are: in the inbox or with the scheduler.
// Submit takes a place before it queues a request, and the place travels with the request, so the bound is
// exact whatever happens to the request on its way. Thread-safe; a place orders nothing but the count.
class QueueLimit {
 public:
  explicit QueueLimit(int places) : places_(places) {}

  // One request's place in the queue, given back by destruction. Move-only; any thread may destroy it. The
  // limit must outlive it.
  class Place {
   public:
    Place(Place&& other) noexcept : limit_(std::exchange(other.limit_, nullptr)) {}
    Place& operator=(Place&& other) noexcept {
      std::swap(limit_, other.limit_);
      return *this;
    }
    ~Place() {
      if (limit_ != nullptr) limit_->taken_.fetch_sub(1, std::memory_order_relaxed);
    }

   private:
    friend class QueueLimit;
    explicit Place(QueueLimit* limit) : limit_(limit) {}
    QueueLimit* limit_;
  };

  // Returns nullopt when all places are taken.
  std::optional<Place> Take() {
    int taken = taken_.load(std::memory_order_relaxed);
    while (taken < places_) {
      if (taken_.compare_exchange_weak(taken, taken + 1, std::memory_order_relaxed)) return Place(this);
    }
    return std::nullopt;
  }

  int taken() const { return taken_.load(std::memory_order_relaxed); }

 private:
  const int places_;
  std::atomic<int> taken_ = 0;
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_SCHEDULER_QUEUE_LIMIT_H_
