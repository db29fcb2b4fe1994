// Numbers for things that others own, so that a value can name them.
#ifndef HYDRAD_SERVER_BACKEND_SLOT_TABLE_H_
#define HYDRAD_SERVER_BACKEND_SLOT_TABLE_H_

#include <cstdint>
#include <utility>
#include <vector>

#include "server/base/mutex.h"

namespace hydrad {

// Maps small numbers to things that are there. Thread-safe. Must outlive its slots.
template <class T>
class SlotTable {
 public:
  // The number of one thing. It is given back by destruction, on any thread, and named by nobody then.
  // Move-only; a slot that holds nothing has the number -1.
  class Slot {
   public:
    Slot() = default;
    Slot(Slot&& other) noexcept
        : table_(std::exchange(other.table_, nullptr)), number_(std::exchange(other.number_, -1)) {}
    Slot& operator=(Slot&& other) noexcept {
      std::swap(table_, other.table_);
      std::swap(number_, other.number_);
      return *this;
    }
    ~Slot() {
      if (table_ != nullptr) table_->Free(number_);
    }
    int32_t number() const { return number_; }

   private:
    friend class SlotTable;
    Slot(SlotTable* table, int32_t number) : table_(table), number_(number) {}

    SlotTable* table_ = nullptr;
    int32_t number_ = -1;
  };

  // The lowest number that is free, so that the same loads get the same slots. `thing` must stay where it is
  // for as long as the slot is held.
  Slot Take(const T& thing) {
    MutexLock lock(&mu_);
    size_t number = 0;
    while (number < things_.size() && things_[number] != nullptr) ++number;
    if (number == things_.size()) things_.push_back(nullptr);
    things_[number] = &thing;
    return Slot(this, static_cast<int32_t>(number));
  }

  // Null when nothing holds the slot.
  const T* Find(int32_t slot) const {
    MutexLock lock(&mu_);
    const bool known = slot >= 0 && static_cast<size_t>(slot) < things_.size();
    return known ? things_[static_cast<size_t>(slot)] : nullptr;
  }

 private:
  void Free(int32_t number) {
    MutexLock lock(&mu_);
    things_[static_cast<size_t>(number)] = nullptr;
  }

  mutable Mutex mu_;
  std::vector<const T*> things_ ABSL_GUARDED_BY(mu_);  // by number; null: free
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_BACKEND_SLOT_TABLE_H_
