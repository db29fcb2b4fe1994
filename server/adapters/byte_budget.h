// Bytes that are reserved before they are taken.
#ifndef HYDRAD_SERVER_ADAPTERS_BYTE_BUDGET_H_
#define HYDRAD_SERVER_ADAPTERS_BYTE_BUDGET_H_

#include <cstdint>
#include <utility>

#include "server/base/mutex.h"
#include "server/base/status.h"

namespace hydrad {

class ByteBudget;

// Bytes of a budget, given back by destruction. Move-only; any thread.
class Reservation {
 public:
  Reservation() = default;
  Reservation(Reservation&& other) noexcept
      : budget_(std::exchange(other.budget_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}
  Reservation& operator=(Reservation&& other) noexcept {
    std::swap(budget_, other.budget_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  ~Reservation();
  uint64_t bytes() const { return bytes_; }

 private:
  friend class ByteBudget;
  Reservation(ByteBudget* budget, uint64_t bytes) : budget_(budget), bytes_(bytes) {}
  ByteBudget* budget_ = nullptr;
  uint64_t bytes_ = 0;
};

// Thread-safe. Must outlive its reservations. `used` is their sum, exactly.
class ByteBudget {
 public:
  explicit ByteBudget(uint64_t total) : total_(total) {}

  // RESOURCE_EXHAUSTED, with the numbers, when `bytes` do not fit beside what is reserved.
  absl::StatusOr<Reservation> Reserve(uint64_t bytes);
  // Whether they would, now; reserves nothing.
  absl::Status Fits(uint64_t bytes) const;

  uint64_t total() const { return total_; }
  uint64_t used() const;

 private:
  friend class Reservation;
  absl::Status FitsLocked(uint64_t bytes) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void GiveBack(uint64_t bytes);

  const uint64_t total_;
  mutable Mutex mu_;
  uint64_t used_ ABSL_GUARDED_BY(mu_) = 0;
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_ADAPTERS_BYTE_BUDGET_H_
