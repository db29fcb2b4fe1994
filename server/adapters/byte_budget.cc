#include "server/adapters/byte_budget.h"

namespace hydrad {

Reservation::~Reservation() {
  if (budget_ != nullptr) budget_->GiveBack(bytes_);
}

absl::StatusOr<Reservation> ByteBudget::Reserve(uint64_t bytes) {
  MutexLock lock(&mu_);
  RETURN_IF_ERROR(FitsLocked(bytes));
  used_ += bytes;
  return Reservation(this, bytes);
}

absl::Status ByteBudget::Fits(uint64_t bytes) const {
  MutexLock lock(&mu_);
  return FitsLocked(bytes);
}

absl::Status ByteBudget::FitsLocked(uint64_t bytes) const {
  if (bytes <= total_ - used_) return absl::OkStatus();
  return ResourceExhausted("needs {} bytes on the device, where {} of {} are free", bytes, total_ - used_,
                           total_);
}

uint64_t ByteBudget::used() const {
  MutexLock lock(&mu_);
  return used_;
}

void ByteBudget::GiveBack(uint64_t bytes) {
  MutexLock lock(&mu_);
  HYDRAD_CHECK(bytes <= used_);
  used_ -= bytes;
}

}  // namespace hydrad
