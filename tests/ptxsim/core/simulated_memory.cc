#include "core/simulated_memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "core/options.h"

namespace ptxsim {
namespace {

constexpr uint64_t kAlign = 256;
constexpr uint64_t kGap = 256;  // at least, behind every allocation
constexpr uint64_t kPage = 4096;
constexpr size_t kFreedKept = 4096;  // remembered for error messages

template <class T>
T* Reserve(uint64_t count) {
  void* p = mmap(nullptr, count * sizeof(T), PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (p == MAP_FAILED) {
    std::perror("ptxsim: cannot reserve addresses for the device's memory");
    std::abort();
  }
  return static_cast<T*>(p);
}

// Calls f(cell, mask of its bytes) for the cells of [p, p + bytes).
template <class F>
void ForCells(const DeviceMemory& memory, const void* p, size_t bytes, F f) {
  uint64_t at = reinterpret_cast<uint64_t>(p), end = at + bytes;
  while (at < end) {
    uint64_t stop = std::min(end, (at | 3) + 1);
    f(memory.cells(at), static_cast<uint8_t>(((1u << (stop - at)) - 1) << (at & 3)));
    at = stop;
  }
}

}  // namespace

DeviceMemory& DeviceMemory::Get() {
  static DeviceMemory* memory = new DeviceMemory;  // module destructors come after any static of ours
  return *memory;
}

DeviceMemory::DeviceMemory() {
  base_ = reinterpret_cast<uint64_t>(Reserve<char>(kReserved));
  granules_ = Reserve<uint8_t>(kReserved / kGranule);
  cells_ = Reserve<Cell>(kReserved / 4);
  read_tags_ = Reserve<uint32_t>(kReserved / kSector);
  write_tags_ = Reserve<uint32_t>(kReserved / kSector);
}

void DeviceMemory::SetGranules(uintptr_t base, size_t bytes, bool allocated) {
  size_t first = (base - base_) / kGranule, whole = bytes / kGranule;
  std::memset(granules_ + first, allocated ? kGranule : 0, whole);
  if (bytes % kGranule != 0) granules_[first + whole] = allocated ? bytes % kGranule : 0;
}

void* DeviceMemory::Allocate(size_t bytes, MemoryKind kind) {
  std::lock_guard lock(mutex_);
  uint64_t room = (bytes + kGap + kAlign - 1) / kAlign * kAlign;
  bool counted = kind != MemoryKind::kPinned;
  if (next_ + room > kReserved || (counted && used_ + bytes > GetOptions().device_bytes)) return nullptr;
  uintptr_t base = base_ + next_;
  next_ += room;
  if (counted) used_ += bytes;
  live_[base] = {base, bytes, kind};
  SetGranules(base, bytes, true);
  std::memset(reinterpret_cast<void*>(base), 0xff, bytes);
  if (kind != MemoryKind::kDevice) MarkWritten(reinterpret_cast<void*>(base), bytes);
  return reinterpret_cast<void*>(base);
}

bool DeviceMemory::Free(void* p) {
  std::lock_guard lock(mutex_);
  auto it = live_.find(reinterpret_cast<uintptr_t>(p));
  if (it == live_.end()) return false;
  auto [base, bytes, kind] = it->second;
  freed_[base] = it->second;
  if (freed_.size() > kFreedKept) freed_.erase(freed_.begin());
  live_.erase(it);
  if (kind != MemoryKind::kPinned) used_ -= bytes;
  SetGranules(base, bytes, false);
  auto release = [](uint64_t begin, uint64_t end) {  // the whole pages within
    begin = (begin + kPage - 1) / kPage * kPage;
    end = end / kPage * kPage;
    if (begin < end) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
  };
  release(base, base + bytes);
  release(reinterpret_cast<uint64_t>(cells(base)), reinterpret_cast<uint64_t>(cells(base + bytes)));
  return true;
}

bool DeviceMemory::Find(const void* p, size_t bytes, Allocation* found) const {
  std::lock_guard lock(mutex_);
  uintptr_t at = reinterpret_cast<uintptr_t>(p);
  auto it = live_.upper_bound(at);
  if (it == live_.begin()) return false;
  const Allocation& a = std::prev(it)->second;
  if (at - a.base > a.bytes || at - a.base + bytes > a.bytes) return false;
  *found = a;
  return true;
}

std::string DeviceMemory::Describe(uint64_t address) const {
  std::lock_guard lock(mutex_);
  char text[160];
  auto below = [&](const std::map<uintptr_t, Allocation>& map) -> const Allocation* {
    auto it = map.upper_bound(address);
    return it == map.begin() ? nullptr : &std::prev(it)->second;
  };
  const Allocation *live = below(live_), *freed = below(freed_);
  const Allocation* near = freed != nullptr && (live == nullptr || freed->base > live->base) ? freed : live;
  if (near == nullptr || !Inside(address)) {
    std::snprintf(text, sizeof(text), "0x%zx, which is no device address", static_cast<size_t>(address));
  } else if (address - near->base < near->bytes) {
    std::snprintf(text, sizeof(text), "0x%zx, byte %zu of %s allocation of %zu bytes",
                  static_cast<size_t>(address), static_cast<size_t>(address - near->base),
                  near == freed ? "a freed" : "an", near->bytes);
  } else {
    std::snprintf(text, sizeof(text), "0x%zx, %zu bytes behind %s allocation of %zu bytes",
                  static_cast<size_t>(address), static_cast<size_t>(address - near->base - near->bytes),
                  near == freed ? "a freed" : "an", near->bytes);
  }
  return text;
}

bool DeviceMemory::IsDevice(const void* p, size_t bytes) const {
  Allocation a;
  return Find(p, bytes, &a) && a.kind != MemoryKind::kPinned;
}

void DeviceMemory::MarkWritten(const void* p, size_t bytes) {
  if (GetOptions().checks != Checks::kFull) return;
  ForCells(*this, p, bytes, [](Cell* cell, uint8_t mask) { cell->initialised |= mask; });
}

void DeviceMemory::MarkUnwritten(const void* p, size_t bytes) {
  if (GetOptions().checks != Checks::kFull) return;
  ForCells(*this, p, bytes,
           [](Cell* cell, uint8_t mask) { cell->initialised &= static_cast<uint8_t>(~mask); });
}

void DeviceMemory::CopyWritten(const void* to, const void* from, size_t bytes) {
  if (GetOptions().checks != Checks::kFull) return;
  for (size_t i = 0; i < bytes;) {
    uint64_t t = reinterpret_cast<uint64_t>(to) + i, f = reinterpret_cast<uint64_t>(from) + i;
    size_t step = std::min<size_t>({bytes - i, 4 - t % 4, 4 - f % 4});
    auto* target = reinterpret_cast<void*>(t);
    if (IsWritten(reinterpret_cast<void*>(f), step))
      MarkWritten(target, step);
    else
      MarkUnwritten(target, step);
    i += step;
  }
}

bool DeviceMemory::IsWritten(const void* p, size_t bytes) const {
  bool all = true;
  ForCells(*this, p, bytes, [&](Cell* cell, uint8_t mask) { all &= (cell->initialised & mask) == mask; });
  return all;
}

void DeviceMemory::MarkAllWritten() {
  std::lock_guard lock(mutex_);
  for (auto& [base, a] : live_) MarkWritten(reinterpret_cast<void*>(base), a.bytes);
}

}  // namespace ptxsim
