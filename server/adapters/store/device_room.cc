#include "server/adapters/store/device_room.h"

#include <fmt/core.h>

#include <algorithm>
#include <string>
#include <utility>

#include "server/base/log.h"
#include "server/base/reason.h"
#include "server/base/status.h"

namespace hydrad {
namespace {

absl::Status NoRoom(const std::string& text) { return Because(ResourceExhausted("{}", text), "NO_ROOM"); }

}  // namespace

absl::Status DeviceRoom::CheckFits(const std::vector<EntryPtr>& together) const {
  const uint64_t capacity = residency_.device_capacity(), host_capacity = residency_.host_capacity();
  uint64_t bytes = 0, kept = 0;
  std::string names;
  for (const EntryPtr& entry : together) {
    names += fmt::format("{}'{}'", names.empty() ? "adapter " : ", ", entry->name);
    bytes += generations_.DeviceBytesOf(*entry);
    if (entry->serving == nullptr) continue;
    for (const ComponentId component : entry->serving->components) {
      const ComponentInfo& info = residency_.info(component);
      const uint64_t host_bytes = std::max(info.host_bytes, info.reading_bytes);
      if (host_bytes <= host_capacity) continue;
      return NoRoom(fmt::format("adapter '{}': needs {} bytes of host memory, where adapters have {}",
                                entry->name, host_bytes, host_capacity));
    }
  }
  for (const EntryPtr& other : kept_) {
    if (!std::ranges::count(together, other)) kept += generations_.DeviceBytesOf(*other);
  }
  if (bytes > capacity) {
    return NoRoom(fmt::format("needs {} bytes on the device at once, where adapters have {}: {}", bytes,
                              capacity, names));
  }
  if (bytes + kept <= capacity) return absl::OkStatus();
  return NoRoom(fmt::format(
      "needs {} bytes on the device at once, of the {} for adapters, of which pinned ones take {}: {}", bytes,
      capacity, kept, names));
}

absl::Status DeviceRoom::CheckPinFits(const EntryPtr& entry, uint64_t bytes) const {
  for (const EntryPtr& other : kept_) bytes += other == entry ? 0 : generations_.DeviceBytesOf(*other);
  if (bytes <= residency_.device_capacity()) return absl::OkStatus();
  return NoRoom(fmt::format("adapter '{}': the pinned adapters would take {} bytes on the device, of {}",
                            entry->name, bytes, residency_.device_capacity()));
}

void DeviceRoom::Keep(const EntryPtr& entry, bool keep) {
  entry->kept = keep;
  if (keep) {
    kept_.insert(entry);
  } else {
    kept_.erase(entry);
  }
  if (entry->serving == nullptr) return;
  for (const ComponentId component : entry->serving->components) residency_.SetKept(component, keep);
}

bool DeviceRoom::Recheck() {
  if (!std::exchange(changed_, false)) return false;
  KeepWhatFits();
  for (const auto& [name, entry] : catalogue_.entries()) {
    if (entry->waiting == 0) continue;
    for (ClaimState* claim : entry->claims) {
      if (claim->bound != nullptr || claim->ended) continue;
      const absl::Status fits = claim->together ? CheckFits(*claim->together) : CheckFits({entry});
      if (!fits.ok()) catalogue_.EndClaim(*claim, fits);
    }
  }
  return true;
}

// Those that are kept already go first, then by name.
void DeviceRoom::KeepWhatFits() {
  const uint64_t capacity = residency_.device_capacity();
  std::vector<EntryPtr> pinned;
  for (const auto& [name, entry] : catalogue_.entries()) {
    if (entry->info.pinned && entry->serving != nullptr && entry->info.state == AdapterState::kAvailable) {
      pinned.push_back(entry);
    }
  }
  std::stable_partition(pinned.begin(), pinned.end(), [](const EntryPtr& e) { return e->kept.load(); });
  uint64_t bytes = 0;
  for (const EntryPtr& entry : pinned) {
    const uint64_t more = generations_.DeviceBytesOf(*entry);
    const bool keep = bytes + more <= capacity;
    bytes += keep ? more : 0;
    if (keep == entry->kept) continue;
    Keep(entry, keep);
    if (keep) continue;
    Log()->warn(
        "adapter '{}' is pinned, but not kept on the device: it needs {} bytes beside {} of other pinned "
        "ones, of {}",
        entry->name, more, bytes, capacity);
  }
}

uint64_t DeviceRoom::KeptBytes() const {
  uint64_t bytes = 0;
  for (const EntryPtr& entry : kept_) bytes += generations_.DeviceBytesOf(*entry);
  return bytes;
}

void DeviceRoom::WarnOfRefused() const {
  const uint64_t capacity = residency_.device_capacity(), kept = KeptBytes();
  uint64_t count = 0, largest = 0;
  for (const auto& [name, entry] : catalogue_.entries()) {
    const uint64_t bytes = entry->kept ? 0 : generations_.DeviceBytesOf(*entry);
    if (kept + bytes <= capacity) continue;
    ++count;
    largest = std::max(largest, bytes);
  }
  if (count == 0) return;
  Log()->warn(
      "pinned adapters leave {} bytes of the device for others: requests for {} adapters, the largest of {} "
      "bytes, are refused",
      capacity - std::min(kept, capacity), count, largest);
}

}  // namespace hydrad
