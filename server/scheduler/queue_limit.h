// How many requests wait to start, counted from the moment they are accepted.
#ifndef HYDRAD_SERVER_SCHEDULER_QUEUE_LIMIT_H_
#define HYDRAD_SERVER_SCHEDULER_QUEUE_LIMIT_H_

#include <atomic>
#include <optional>
#include <utility>

namespace hydrad {

// A bound on the requests that have not started, wherever they are: in the inbox or with the scheduler. The
// door takes a seat before it queues a request, and the seat travels with it, so the bound is exact whatever
// happens to the request on its way. Thread-safe; a seat orders nothing but the count.
class QueueLimit {
 public:
  explicit QueueLimit(int seats) : seats_(seats) {}

  // A place in the room, given back by destruction. Move-only; any thread. The room must outlive it.
  class Seat {
   public:
    Seat(Seat&& other) noexcept : room_(std::exchange(other.room_, nullptr)) {}
    Seat& operator=(Seat&& other) noexcept {
      std::swap(room_, other.room_);
      return *this;
    }
    ~Seat() {
      if (room_ != nullptr) room_->taken_.fetch_sub(1, std::memory_order_relaxed);
    }

   private:
    friend class QueueLimit;
    explicit Seat(QueueLimit* room) : room_(room) {}
    QueueLimit* room_;
  };

  // nullopt when all seats are taken.
  std::optional<Seat> Take() {
    int taken = taken_.load(std::memory_order_relaxed);
    while (taken < seats_) {
      if (taken_.compare_exchange_weak(taken, taken + 1, std::memory_order_relaxed)) return Seat(this);
    }
    return std::nullopt;
  }

  int taken() const { return taken_.load(std::memory_order_relaxed); }

 private:
  const int seats_;
  std::atomic<int> taken_ = 0;
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_SCHEDULER_QUEUE_LIMIT_H_
