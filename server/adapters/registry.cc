#include "server/adapters/registry.h"

#include <algorithm>
#include <utility>

namespace hydrad {
namespace {

bool Follows(AdapterState from, AdapterState to) {
  switch (from) {
    case AdapterState::kLoading:
      return to == AdapterState::kAvailable || to == AdapterState::kFailed;
    case AdapterState::kAvailable:  // itself: a replace ended
      return to == AdapterState::kAvailable || to == AdapterState::kUnloading;
    case AdapterState::kUnloading:
      return to == AdapterState::kUnloaded;
    case AdapterState::kFailed:
      return to == AdapterState::kLoading || to == AdapterState::kUnloaded;
    case AdapterState::kUnloaded:  // where an entry begins
      return to == AdapterState::kLoading;
  }
  return false;
}

bool IsNameCharacter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' ||
         c == '-';
}

// The same pin in a control block of its own, so that handles are counted apart from the registry's pins.
Registry::Pin Counted(Registry::Pin pin, std::shared_ptr<std::atomic<int64_t>> handles) {
  ++*handles;
  const AdapterGeneration* generation = pin.get();
  return Registry::Pin(generation, [pin = std::move(pin), handles](const AdapterGeneration*) mutable {
    --*handles;
    pin.reset();
  });
}

absl::Status NotLoaded(const std::string& name) {
  if (!CheckAdapterName(name).ok()) return NotFound("no adapter can have this name");  // not echoed: anything
  return NotFound("adapter '{}' is not loaded", name);
}

}  // namespace

const char* Name(AdapterState state) {
  switch (state) {
    case AdapterState::kLoading:
      return "loading";
    case AdapterState::kAvailable:
      return "available";
    case AdapterState::kUnloading:
      return "unloading";
    case AdapterState::kFailed:
      return "failed";
    case AdapterState::kUnloaded:
      return "unloaded";
  }
  return "unknown";
}

absl::Status CheckAdapterName(const std::string& name) {
  if (!name.empty() && name.size() <= 128 && name.front() != '.' &&
      std::ranges::all_of(name, IsNameCharacter)) {
    return absl::OkStatus();
  }
  return InvalidArgument("name: must be 1 to 128 of a-z A-Z 0-9 . _ -, not starting with '.'");
}

absl::Status Registry::MayLoad(const std::string& name) const {
  const auto found = entries_.find(name);
  if (found == entries_.end()) {
    if (entries_.size() < max_adapters_) return absl::OkStatus();
    return ResourceExhausted("there are {} adapters, which is the limit", entries_.size());
  }
  if (found->second.loading) return Aborted("adapter '{}' is being loaded", name);
  if (found->second.info.state == AdapterState::kUnloading)
    return Aborted("adapter '{}' is being unloaded", name);
  return absl::OkStatus();
}

void Registry::BeginLoad(const std::string& name, const std::string& path) {
  const auto [found, fresh] = entries_.try_emplace(name);
  Entry& entry = found->second;
  if (fresh) entry.info.state = AdapterState::kUnloaded;
  HYDRAD_CHECK(!entry.loading);
  entry.loading = true;
  if (entry.serving != nullptr) return;  // a replace: nothing changes until it ends
  entry.info.name = name;
  entry.info.path = path;
  entry.info.error = absl::OkStatus();
  Transition(entry, AdapterState::kLoading);
}

Registry::Entry& Registry::Loading(const std::string& name) {
  const auto found = entries_.find(name);
  HYDRAD_CHECK(found != entries_.end() && found->second.loading);
  return found->second;
}

Registry::Pin Registry::Publish(const std::string& name, Pin pin, AdapterInfo info) {
  Entry& entry = Loading(name);
  HYDRAD_CHECK(pin->generation > last_generation_);
  last_generation_ = pin->generation;
  entry.loading = false;
  entry.generations.insert(pin->generation);
  info.name = name;
  info.state = entry.info.state;
  info.generation = pin->generation;
  entry.info = std::move(info);
  Pin before = std::exchange(entry.serving, std::move(pin));
  Transition(entry, AdapterState::kAvailable);
  return before;
}

void Registry::FailLoad(const std::string& name, absl::Status error, double seconds) {
  Entry& entry = Loading(name);
  entry.loading = false;
  entry.info.error = std::move(error);
  entry.info.load_seconds = seconds;
  Transition(entry, entry.serving ? AdapterState::kAvailable : AdapterState::kFailed);
}

absl::StatusOr<Registry::Unload> Registry::BeginUnload(const std::string& name) {
  const auto found = entries_.find(name);
  if (found == entries_.end()) return NotLoaded(name);
  RETURN_IF_ERROR(MayLoad(name));  // what forbids a load forbids an unload
  Entry& entry = found->second;
  if (entry.info.state == AdapterState::kFailed) {
    Transition(entry, AdapterState::kUnloaded);
    Unload unload{nullptr, Snapshot(entry)};
    entries_.erase(found);
    return unload;
  }
  Transition(entry, AdapterState::kUnloading);
  return Unload{std::move(entry.serving), std::nullopt};
}

std::optional<AdapterInfo> Registry::GenerationGone(const std::string& name, uint64_t generation) {
  const auto found = entries_.find(name);
  if (found == entries_.end()) return std::nullopt;  // after Clear
  Entry& entry = found->second;
  HYDRAD_CHECK(entry.generations.erase(generation) == 1);
  if (entry.info.state != AdapterState::kUnloading || !entry.generations.empty()) return std::nullopt;
  Transition(entry, AdapterState::kUnloaded);
  AdapterInfo last_word = Snapshot(entry);
  entries_.erase(found);
  return last_word;
}

absl::StatusOr<Registry::Pin> Registry::Acquire(const std::string& name) const {
  const auto found = entries_.find(name);
  if (found == entries_.end()) return NotLoaded(name);
  const Entry& entry = found->second;
  switch (entry.info.state) {
    case AdapterState::kAvailable:
      return Counted(entry.serving, entry.handles);
    case AdapterState::kFailed:
      return FailedPrecondition("adapter '{}' failed to load: {}", name,
                                std::string(entry.info.error.message()));
    default:
      return Unavailable("adapter '{}' is {}", name, Name(entry.info.state));
  }
}

absl::StatusOr<AdapterInfo> Registry::Get(const std::string& name) const {
  const auto found = entries_.find(name);
  if (found == entries_.end()) return NotLoaded(name);
  return Snapshot(found->second);
}

std::vector<AdapterInfo> Registry::List() const {
  std::vector<AdapterInfo> list;
  for (const auto& [name, entry] : entries_) list.push_back(Snapshot(entry));
  return list;
}

std::vector<AdapterInfo> Registry::TakeEvents() { return std::exchange(events_, {}); }

std::vector<Registry::Pin> Registry::Clear() {
  std::vector<Pin> pins;
  for (auto& [name, entry] : entries_) {
    if (entry.serving != nullptr) pins.push_back(std::move(entry.serving));
  }
  entries_.clear();
  return pins;
}

void Registry::Transition(Entry& entry, AdapterState to) {
  HYDRAD_CHECK(Follows(entry.info.state, to));
  entry.info.state = to;
  events_.push_back(Snapshot(entry));
}

AdapterInfo Registry::Snapshot(const Entry& entry) {
  AdapterInfo info = entry.info;
  info.handles = *entry.handles;
  return info;
}

}  // namespace hydrad
