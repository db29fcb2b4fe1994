// What cannot fit is told so, rather than left to wait: the room of the tiers against what must be there
// together.
#include <algorithm>
#include <set>
#include <utility>

#include "server/adapters/store/store_impl.h"
#include "server/base/log.h"
#include "server/base/reason.h"

namespace hydrad {
namespace {

absl::Status NoRoom(const std::string& text) { return Because(ResourceExhausted("{}", text), "NO_ROOM"); }

}  // namespace

// Of what serves; 0 for what has not been read since the start.
uint64_t AdapterStore::Impl::DeviceBytesOf(const AdapterEntry& entry) const {
  uint64_t bytes = 0;
  if (entry.serving == nullptr) return 0;
  for (const ComponentId component : entry.serving->components)
    bytes += residency.info(component).device_bytes;
  return bytes;
}

absl::Status AdapterStore::Impl::CheckRoom(const std::vector<EntryPtr>& together) const {
  uint64_t bytes = 0, pinned = 0;
  std::string names;
  for (const EntryPtr& entry : together) {
    names += fmt::format("{}'{}'", names.empty() ? "adapter " : ", ", entry->name);
    bytes += DeviceBytesOf(*entry);
    if (entry->serving == nullptr) continue;
    for (const ComponentId component : entry->serving->components) {
      const ComponentInfo& info = residency.info(component);
      const uint64_t host_bytes = std::max(info.host_bytes, info.reading_bytes);
      if (host_bytes <= options.host_bytes) continue;
      return NoRoom(fmt::format("adapter '{}': needs {} bytes of host memory, where adapters have {}",
                                entry->name, host_bytes, options.host_bytes));
    }
  }
  for (const EntryPtr& other : kept) {
    if (!std::ranges::count(together, other)) pinned += DeviceBytesOf(*other);
  }
  if (bytes > options.device_bytes) {
    return NoRoom(fmt::format("needs {} bytes on the device at once, where adapters have {}: {}", bytes,
                              options.device_bytes, names));
  }
  if (bytes + pinned <= options.device_bytes) return absl::OkStatus();
  return NoRoom(fmt::format(
      "needs {} bytes on the device at once, of the {} for adapters, of which pinned ones take {}: {}", bytes,
      options.device_bytes, pinned, names));
}

absl::Status AdapterStore::Impl::CheckPinsFit(const EntryPtr& entry, uint64_t bytes) const {
  for (const EntryPtr& other : kept) bytes += other == entry ? 0 : DeviceBytesOf(*other);
  if (bytes <= options.device_bytes) return absl::OkStatus();
  return NoRoom(fmt::format("adapter '{}': the pinned adapters would take {} bytes on the device, of {}",
                            entry->name, bytes, options.device_bytes));
}

void AdapterStore::Impl::LookAtRoom() {
  if (!std::exchange(room_changed, false)) return;
  KeepPinned();
  for (const auto& [name, entry] : catalogue.entries()) {
    if (entry->waiting == 0) continue;
    for (ClaimState* claim : entry->claims) {
      if (claim->bound != nullptr || claim->ended) continue;
      const absl::Status fits = claim->together ? CheckRoom(*claim->together) : CheckRoom({entry});
      if (!fits.ok()) End(*claim, fits);
    }
  }
}

// Those that are kept already go first, then by name.
void AdapterStore::Impl::KeepPinned() {
  std::vector<EntryPtr> pinned;
  for (const auto& [name, entry] : catalogue.entries()) {
    if (entry->info.pinned && entry->serving != nullptr && entry->info.state == AdapterState::kAvailable) {
      pinned.push_back(entry);
    }
  }
  std::stable_partition(pinned.begin(), pinned.end(), [](const EntryPtr& e) { return e->kept.load(); });
  uint64_t bytes = 0;
  for (const EntryPtr& entry : pinned) {
    const uint64_t more = DeviceBytesOf(*entry);
    const bool keep = bytes + more <= options.device_bytes;
    bytes += keep ? more : 0;
    if (keep == entry->kept) continue;
    Keep(entry, keep);
    if (keep) continue;
    Log()->warn(
        "adapter '{}' is pinned, but not kept on the device: it needs {} bytes beside {} of other pinned "
        "ones, "
        "of {}",
        entry->name, more, bytes, options.device_bytes);
  }
}

void AdapterStore::Impl::Keep(const EntryPtr& entry, bool keep) {
  entry->kept = keep;
  if (keep) {
    kept.insert(entry);
  } else {
    kept.erase(entry);
  }
  if (entry->serving == nullptr) return;
  for (const ComponentId component : entry->serving->components) residency.SetKept(component, keep);
}

// Pins are the operator's wish; what they keep out is told.
void AdapterStore::Impl::WarnOfKeptOut() const {
  uint64_t pinned = 0, count = 0, largest = 0;
  for (const EntryPtr& entry : kept) pinned += DeviceBytesOf(*entry);
  for (const auto& [name, entry] : catalogue.entries()) {
    const uint64_t bytes = entry->kept ? 0 : DeviceBytesOf(*entry);
    if (pinned + bytes <= options.device_bytes) continue;
    ++count;
    largest = std::max(largest, bytes);
  }
  if (count == 0) return;
  Log()->warn(
      "pinned adapters leave {} bytes of the device for others: requests for {} adapters, the largest of {} "
      "bytes, are refused",
      options.device_bytes - std::min(pinned, options.device_bytes), count, largest);
}

}  // namespace hydrad
